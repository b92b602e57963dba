import numpy as np
import pytest

from pipeline.evaluation.statistics import two_level_bootstrap


def test_the_value_is_the_mean_of_the_prompts_means() -> None:
    found = two_level_bootstrap({"a": [1.0, 3.0], "b": [5.0]}, 100, 1)
    assert found.value == pytest.approx((2 + 5) / 2)
    assert (found.prompts, found.pictures) == (2, 3)


def test_scores_that_do_not_vary_have_no_width() -> None:
    found = two_level_bootstrap({"a": [0.5, 0.5], "b": [0.5]}, 50, 1)
    assert (found.low, found.high) == (0.5, 0.5)


def test_one_prompt_with_two_seeds_spans_both() -> None:
    found = two_level_bootstrap({"a": [0.0, 1.0]}, 4000, 1)
    # Means of two draws with replacement: 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4.
    assert (found.low, found.high) == (0.0, 1.0)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(120):
        scores = {str(prompt): list(rng.normal(rng.normal(0, 1), 0.5, 2)) for prompt in range(16)}
        found = two_level_bootstrap(scores, 300, trial)
        hits += found.low <= 0 <= found.high
    assert 0.86 <= hits / 120 <= 1.0


def test_the_seed_decides() -> None:
    scores = {"a": [0.1, 0.4], "b": [0.2, 0.9]}
    assert two_level_bootstrap(scores, 50, 3) == two_level_bootstrap(scores, 50, 3)
    assert two_level_bootstrap(scores, 50, 3) != two_level_bootstrap(scores, 50, 4)


@pytest.mark.parametrize("scores", [{}, {"a": [1.0], "b": []}])
def test_nothing_is_not_a_score(scores) -> None:
    with pytest.raises(ValueError, match="at least one score"):
        two_level_bootstrap(scores, 10, 1)
