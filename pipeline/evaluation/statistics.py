"""Intervals for figures that come from a few prompts with a few seeds each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A mean over prompts, its 95 % interval, and how many prompts and pictures it rests on."""

    value: float
    low: float
    high: float
    prompts: int
    pictures: int


def two_level_bootstrap(
    scores: Mapping[str, Sequence[float]], resamples: int, seed: int, level: float = 0.95
) -> Estimate:
    """Mean over prompts of the mean over seeds, with a percentile interval that draws prompts, then seeds within them.

    Args:
        scores: the scores of each prompt's pictures, one per seed; no prompt without a score.
        resamples: bootstrap draws.

    Raises:
        ValueError: there are no scores, or a prompt has none.
    """
    groups = [np.asarray(values, np.float64) for values in scores.values()]
    if not groups or any(len(group) == 0 for group in groups):
        raise ValueError("every prompt needs at least one score")
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    for draw in range(resamples):
        picked = rng.integers(len(groups), size=len(groups))
        means[draw] = np.mean([rng.choice(groups[index], len(groups[index])).mean() for index in picked])
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    value = float(np.mean([group.mean() for group in groups]))
    return Estimate(value, float(low), float(high), len(groups), sum(len(group) for group in groups))
