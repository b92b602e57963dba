from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from pipeline.evaluation.known_interval import NOT_KNOWN, figure_words, has_interval, interval_words
from pipeline.evaluation.statistics import (
    Estimate,
    Resamples,
    clustered_share,
    holm,
    interval,
    intraclass,
    kernel_distance,
    level,
    lowest_share,
    paired_difference,
    recorded,
    share_difference,
    share_ratio,
    sign_flip_test,
    student_tail,
    two_level_bootstrap,
    welch_test,
    wilson,
)


def ratio_of(first: np.ndarray, second: np.ndarray, resamples: Resamples) -> Estimate:
    return interval(1.0, np.ones(len(resamples.rows)), [first, second], share_ratio)


def test_the_value_is_the_mean_of_the_prompts_means() -> None:
    found = two_level_bootstrap({"a": [1.0, 3.0], "b": [5.0, 6.0]}, 100, 1)
    assert found.value == pytest.approx((2 + 5.5) / 2)
    assert (found.prompts, found.pictures) == (2, 4)


def test_scores_that_do_not_vary_have_bounds_that_say_nothing() -> None:
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


def test_the_lowest_tenth_is_another_one_in_another_sample() -> None:
    rng = np.random.default_rng(1)
    table = (rng.random((30, 3)) < 0.5).astype(float)
    found = lowest_share(table, 0.1, Resamples(30, 3, 2000, 1))
    assert (found.value, found.prompts, found.pictures) == (0.0, 3, 9)
    again = [np.sort((rng.random((30, 3)) < 0.5).mean(axis=1))[:3].mean() for _ in range(2000)]
    assert found.low <= np.quantile(again, 0.025) and found.high > 0


def test_the_lowest_of_few_prompts_is_one_and_its_value_lies_in_its_interval() -> None:
    found = lowest_share(np.array([[1.0, 0.0], [1.0, 1.0]]), 0.1, Resamples(2, 2, 500, 1))
    assert found.value == 0.5 and found.low <= 0.5 <= found.high == 1.0


@pytest.mark.parametrize("hit", [0.0, 1.0])
def test_the_lowest_prompts_are_not_known_for_sure_where_all_or_none_of_the_pictures_are_hits(hit: float) -> None:
    found = lowest_share(np.full((30, 3), hit), 0.1, Resamples(30, 3, 500, 1))
    assert (found.value, found.prompts, found.pictures) == (hit, 3, 9)
    assert (found.low, found.high) == pytest.approx(wilson(9 * hit, 9))


def test_the_lowest_prompts_are_not_known_for_sure_where_every_draw_holds_some_without_a_hit() -> None:
    table = np.repeat([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]], 15, axis=0)
    found = lowest_share(table, 0.1, Resamples(30, 3, 500, 1))
    assert (found.value, found.low) == (0, 0) and found.high > 0.2


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


@pytest.mark.parametrize(
    ("second", "first", "low", "high"),
    [((56, 70), (48, 80), 0.0524, 0.3339), ((9, 10), (3, 10), 0.1705, 0.8090), ((0, 10), (0, 20), -0.1611, 0.2775)],
)  # table II of Newcombe 1998
def test_the_difference_of_two_shares_has_newcombes_interval(
    second: tuple[int, int], first: tuple[int, int], low: float, high: float
) -> None:
    one, other = (Estimate(hits / total, *wilson(hits, total), total, total) for hits, total in (first, second))
    found = share_difference(one, other)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 60), st.integers(1, 60))
def test_a_share_can_have_risen_at_most_to_its_own_upper_bound(one: int, other: int, more: int, rest: int) -> None:
    first, second = (
        Estimate(hits / total, *wilson(hits, total), total, total)
        for hits, total in ((one, one + more), (other, other + rest))
    )
    found = share_difference(first, second)
    assert found.low <= found.value <= found.high <= second.high + 1e-12


def shares(*pairs: tuple[int, int]) -> list[Estimate]:
    return [Estimate(hits / total, *wilson(hits, total), total, total) for hits, total in pairs]


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 60), st.integers(0, 60))
def test_the_ratio_of_two_shares_lies_in_its_interval_and_the_other_way_round_is_its_inverse(
    one: int, other: int, more: int, rest: int
) -> None:
    first, second = shares((one, one + more), (other, other + rest))
    found, back = share_ratio(first, second), share_ratio(second, first)
    assert found.low <= found.value + 1e-12 and found.value <= found.high + 1e-12
    assert found.low == pytest.approx(1 / back.high) and found.high == pytest.approx(1 / back.low)


def test_the_ratio_of_two_shares_covers_the_true_one() -> None:
    rng = np.random.default_rng(1)
    hits = rng.binomial(36, 0.97, (2000, 2))
    ratios = [share_ratio(*shares((int(a), 36), (int(b), 36))) for a, b in hits]
    assert np.mean([found.low <= 1 <= found.high for found in ratios]) > 0.93


def test_all_hits_against_all_and_none_against_all_are_as_sure_as_the_shares_themselves() -> None:
    every, none = shares((36, 36), (0, 36))
    assert share_ratio(every, every).low == pytest.approx(every.low) and share_ratio(every, every).high > 1
    found = share_ratio(none, every)
    assert (found.value, found.low) == (0, 0) and found.high > none.high


def test_hits_that_are_the_same_in_every_picture_do_not_make_a_difference_of_nothing_for_sure() -> None:
    hits = np.ones((6, 2))
    found = paired_difference(hits, hits, Resamples(6, 2, 200, 1))
    assert found.value == 0 and found.low < -0.1 and found.high > 0.1
    moved = paired_difference(hits, hits - 0.25, Resamples(6, 2, 200, 1))
    assert (moved.value, moved.low, moved.high) == (-0.25, -0.25, -0.25)  # scores are no hits: nothing is added


@pytest.mark.parametrize("make", [paired_difference, ratio_of], ids=["difference", "ratio"])
@pytest.mark.parametrize("hits", [np.eye(6)[:, :2], np.ones((6, 2))], ids=["some", "all"])
def test_no_figure_of_shares_in_which_all_draws_agree_is_certain(
    make: Callable[..., Estimate], hits: np.ndarray
) -> None:
    found = make(hits, hits, Resamples(6, 2, 200, 1))
    assert found.low < found.value < found.high


def test_scores_that_are_no_hits_have_no_known_interval_where_all_draws_agree() -> None:
    table = np.full((6, 2), 0.1)
    found = level(table, Resamples(6, 2, 200, 1))
    row = {"metric": "copy", "model": "tuned", **asdict(found)}
    assert found.value == found.low == found.high and not has_interval(row)
    assert not has_interval({**row, "model": "difference"})
    assert interval_words(row) == NOT_KNOWN


def test_cosines_that_are_equal_in_every_picture_are_of_the_same_pictures() -> None:
    table = np.random.default_rng(0).random((6, 2))
    row = {"model": "difference", **asdict(paired_difference(table, table, Resamples(6, 2, 200, 1)))}
    assert interval_words({"metric": "class_likeness", **row}, sign="+") == "+0.0000 to +0.0000"
    assert interval_words({"metric": "class_likeness", **row, "prompts": 1}) == NOT_KNOWN
    assert interval_words({"metric": "success", **row}) == NOT_KNOWN  # a share of an older version


@pytest.mark.parametrize("apart", [1e-2, 2e-5, 3e-10])
def test_a_record_does_not_round_a_known_interval_away(apart: float) -> None:
    table = 0.5 + apart * np.random.default_rng(0).random((6, 2))
    found = recorded(level(table, Resamples(6, 2, 200, 1)))
    row = {"metric": "copy", "model": "tuned", **asdict(found)}
    assert found.low <= found.value <= found.high and has_interval(row)
    assert interval_words(row).startswith("0.50") and abs(found.value - table.mean()) < 1e-4


def test_a_record_rounds_to_four_digits_where_they_tell_the_bounds_apart_or_nothing_does() -> None:
    assert recorded(Estimate(0.123421, 0.123412, 0.123439, 6, 12)) == Estimate(0.12342, 0.12341, 0.12344, 6, 12)
    assert recorded(Estimate(0.123456, 0.1, 0.2000049, 6, 12)) == Estimate(0.1235, 0.1, 0.2, 6, 12)
    assert recorded(Estimate(1 / 3, 1 / 3, 1 / 3, 6, 12)) == Estimate(0.3333, 0.3333, 0.3333, 6, 12)


def test_a_figure_is_told_with_its_interval_in_as_many_digits_and_with_its_sign() -> None:
    row = {"value": 0.25, "low": -0.125, "high": 0.5}
    assert figure_words(row) == "0.2500 (-0.1250 to 0.5000)"
    assert figure_words(row, 3, "+") == "+0.250 (-0.125 to +0.500)"
    assert figure_words({**row, "low": None, "high": None}) == f"0.2500 ({NOT_KNOWN})"


def test_all_hits_against_none_differ_by_no_more_than_the_two_shares_are_known() -> None:
    none, every = np.zeros((6, 2)), np.ones((6, 2))
    found = paired_difference(none, every, Resamples(6, 2, 200, 1))
    back = paired_difference(every, none, Resamples(6, 2, 200, 1))
    assert found.value == found.high == 1 and 0.5 < found.low < 0.8
    assert (back.value, back.low, back.high) == (-1, -1, pytest.approx(-found.low))


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


@given(st.floats(0, 40), st.floats(1, 60))
def test_the_tail_of_students_t_is_scipys(t: float, freedom: float) -> None:
    assert student_tail(t, freedom) == pytest.approx(2 * stats.t.sf(t, freedom), abs=2e-4)


@given(
    arrays(float, st.integers(2, 6), elements=st.integers(0, 9)),
    arrays(float, st.integers(2, 6), elements=st.integers(0, 9)),
)
def test_two_means_are_compared_by_welchs_test(first: np.ndarray, second: np.ndarray) -> None:
    p, half = welch_test(first, second)
    if first.var() + second.var() == 0:
        assert (p, half) == (float(first[0] == second[0]), 0)
        return
    right = stats.ttest_ind(second, first, equal_var=False)
    bounds = right.confidence_interval()
    assert (p, half) == (pytest.approx(right.pvalue, abs=2e-4), pytest.approx((bounds.high - bounds.low) / 2, rel=5e-3))


def test_one_value_has_no_variance_to_compare_means_by() -> None:
    with pytest.raises(ValueError, match="two values on either side"):
        welch_test([1.0], [2.0, 3.0])


def test_holm_multiplies_the_smallest_by_most_and_keeps_the_order() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}


def test_the_kernel_distance_of_two_small_sets() -> None:
    # k(x, y) = (x.y / 2 + 1)^3: 1 between the axes, 3.375 of an axis with itself, 0.125 with its opposite.
    axes, two = np.eye(2), ("p", "q")
    assert kernel_distance(axes, axes, (two, two)) == pytest.approx(0)
    assert kernel_distance(axes, -axes, (two, two)) == pytest.approx(1 + 1 - 2)
    same = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert kernel_distance(same, -same, (two, two)) == pytest.approx(2 * 3.375 - 2 * 0.125)
    with pytest.raises(ValueError, match="two prompts"):
        kernel_distance(axes, axes, (("p", "p"), two))


def test_the_kernel_distance_is_about_none_of_an_untouched_model_and_keeps_the_sign_of_a_shift() -> None:
    rng, prompts = np.random.default_rng(3), [prompt for prompt in range(6) for _ in range(3)]

    def drift(shift: float, own: float) -> float:
        """Six prompts with three noises each, which both models share; `own` is what each picture has beside."""
        shared = np.repeat(rng.normal(0, 0.5, (6, 8)), 3, axis=0) + rng.normal(0, 1, (18, 8))
        base, tuned = (shared + rng.normal(0, own, (18, 8)) for _ in range(2))
        return kernel_distance(tuned + shift, base, (prompts, prompts))

    assert drift(0, own=0.0) == pytest.approx(0, abs=1e-12)  # the same pictures
    found = np.array([drift(0, own=0.3) for _ in range(400)])
    assert abs(found.mean()) < 3 * found.std() / 20
    shifted = np.array([drift(0.5, own=0.3) for _ in range(400)])
    assert shifted.mean() > 5 * shifted.std() / 20 and (shifted > 0).mean() > 0.8


@given(arrays(float, st.tuples(st.integers(2, 6), st.integers(2, 5)), elements=st.floats(0, 1)))
def test_the_intraclass_correlation_is_the_share_of_variance_between_prompts(table: np.ndarray) -> None:
    assert 0 <= intraclass(table) <= 1
    same = np.repeat(np.arange(4.0)[:, None], 3, axis=1)  # a prompt's seeds are equal
    assert intraclass(same) == pytest.approx(1)
    assert intraclass(same.T) == 0  # seeds differ, prompts do not
    assert intraclass(table[:, :1]) == 0
    assert intraclass(table[:1]) == 1


def test_a_share_of_pictures_that_are_alike_is_worth_its_prompts() -> None:
    near = np.repeat(np.linspace(0, 1, 20)[:, None], 5, axis=1)  # the seeds of a prompt are one picture
    none = np.zeros_like(near)
    assert clustered_share(none, near).high == pytest.approx(wilson(0, 20)[1])
    apart = np.random.default_rng(0).permuted(near.ravel()).reshape(near.shape)
    assert clustered_share(none, apart).high == pytest.approx(wilson(0, 100)[1], rel=0.2)
    hits = np.zeros_like(near)
    hits[0] = 1  # all copies of one prompt
    found = clustered_share(hits, apart)
    assert (found.value, found.prompts, found.pictures) == (0.05, 20, 100)
    assert (found.low, found.high) == pytest.approx(wilson(1, 20))


def test_a_clustered_interval_holds_the_true_share_where_wilsons_does_not() -> None:
    """Prompts that copy in all or none of their seeds; 95 % intervals of 400 draws of 30 prompts x 4 seeds."""
    rng, share, hit, plain = np.random.default_rng(1), 0.2, 0, 0
    for _ in range(400):
        hits = np.repeat((rng.random(30) < share)[:, None], 4, axis=1).astype(float)
        found = clustered_share(hits, hits)
        low, high = wilson(hits.sum(), hits.size)
        hit += found.low <= share <= found.high
        plain += low <= share <= high
    assert hit / 400 > 0.92
    assert plain / 400 < 0.8
