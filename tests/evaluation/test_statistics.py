import numpy as np
import pytest

from pipeline.evaluation.statistics import holm, kernel_distance, sign_flip_test, two_level_bootstrap, wilson


def test_the_value_is_the_mean_of_the_prompts_means() -> None:
    found = two_level_bootstrap({"a": [1.0, 3.0], "b": [5.0, 6.0]}, 100, 1)
    assert found.value == pytest.approx((2 + 5.5) / 2)
    assert (found.prompts, found.pictures) == (2, 4)


def test_scores_that_do_not_vary_have_no_width() -> None:
    found = two_level_bootstrap({"a": [0.5, 0.5], "b": [0.5, 0.5]}, 50, 1)
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
    scores = {str(prompt): [prompt * 0.07 % 1, prompt * 0.31 % 1] for prompt in range(9)}
    assert two_level_bootstrap(scores, 50, 3) == two_level_bootstrap(scores, 50, 3)
    assert two_level_bootstrap(scores, 50, 3) != two_level_bootstrap(scores, 50, 4)


@pytest.mark.parametrize("scores", [{}, {"a": [1.0], "b": []}])
def test_nothing_is_not_a_score(scores) -> None:
    with pytest.raises(ValueError, match="at least one score"):
        two_level_bootstrap(scores, 10, 1)


def test_prompts_with_unequal_numbers_of_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match="same number of scores"):
        two_level_bootstrap({"a": [1.0, 2.0], "b": [1.0]}, 10, 1)


def test_the_interval_of_a_share_is_wilsons() -> None:
    # Published values for 0 and 5 of 10 (Brown, Cai and DasGupta 2001).
    assert wilson(0, 10) == (0.0, pytest.approx(0.2775, abs=1e-4))
    assert wilson(5, 10) == (pytest.approx(0.2366, abs=1e-4), pytest.approx(0.7634, abs=1e-4))
    with pytest.raises(ValueError, match="at least one trial"):
        wilson(0, 0)


def test_three_equal_differences_have_two_extreme_sign_patterns_of_eight() -> None:
    assert sign_flip_test([1.0, 1.0, 1.0], 1000, 1) == pytest.approx(2 / 8)
    # Patterns of 1, 2 with a mean at least as large as 1.5: ++ and --.
    assert sign_flip_test([1.0, 2.0], 1000, 1) == pytest.approx(2 / 4)
    assert sign_flip_test([1.0, -1.0], 1000, 1) == 1.0


def test_many_differences_are_flipped_at_random_and_p_is_never_zero() -> None:
    p = sign_flip_test([1.0] * 40, 999, 1)
    assert p == pytest.approx(1 / 1000)
    rng = np.random.default_rng(3)
    null = [sign_flip_test(list(rng.normal(size=20)), 400, trial) for trial in range(100)]
    assert 0.3 < float(np.mean(np.array(null) < 0.5)) < 0.7


def test_holm_multiplies_the_smallest_by_most_and_keeps_the_order() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}


def test_the_kernel_distance_of_two_small_sets() -> None:
    # k(x, y) = (x.y / 2 + 1)^3: 1 between the axes, 3.375 of an axis with itself.
    axes = np.eye(2)
    assert kernel_distance(axes, axes) == pytest.approx(1 + 1 - 2 * (3.375 + 1) / 2)
    same = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert kernel_distance(same, same) == pytest.approx(0)
    assert kernel_distance(same, -same) == pytest.approx(2 * 3.375 - 2 * 0.125)
    with pytest.raises(ValueError, match="two vectors"):
        kernel_distance(axes[:1], axes)
