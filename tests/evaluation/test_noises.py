"""What intervals know of the luck of the noises, and what they do not."""

import numpy as np

from benchmarks.noises import parts
from pipeline.evaluation.recorded_noise import recorded_noise
from pipeline.evaluation.statistics import Resamples


def scores(rng: np.random.Generator, shared: float) -> np.ndarray:
    """48 prompts with three seeds: the prompts' own level, noise of 0.08, and what a seed does to all prompts."""
    table = rng.normal(0, 0.08, (48, 1)) + rng.normal(0, 0.08, (48, 3))
    return np.asarray(table + rng.normal(0, shared, (1, 3)))


def covered(shared: float) -> float:
    """How often the interval of a mean contains the true one, 0."""
    hits = 0
    for trial in range(300):
        draws = Resamples(48, 3, 300, trial).means(scores(np.random.default_rng(trial), shared))
        low, high = np.quantile(draws, [0.025, 0.975])
        hits += bool(low <= 0 <= high)
    return hits / 300


def test_an_interval_over_prompts_holds_only_where_every_prompt_has_noises_of_its_own() -> None:
    assert covered(shared=0.0) >= 0.93
    assert covered(shared=0.06) <= 0.6


def test_the_part_of_the_seeds_is_told_from_that_of_the_prompts() -> None:
    rng = np.random.default_rng(1)
    found = parts(rng.normal(0, 0.05, (400, 1)) + rng.normal(0, 0.1, (400, 20)) + rng.normal(0, 0.3, (1, 20)))
    assert 0.2 < found["sd_between_seeds"] < 0.4
    assert found["f"] > 100
    assert found["standard_error"] > 10 * found["standard_error_bootstrap"]
    alone = parts(scores(rng, shared=0.0))
    assert alone["f"] < 6
    assert 0.5 < alone["standard_error"] / alone["standard_error_bootstrap"] < 1.5


def test_pictures_of_older_versions_started_from_the_seeds_themselves() -> None:
    assert recorded_noise({"seed": 11, "noise": 470}) == 470
    assert recorded_noise({"seed": 11}) == 11
