"""Intervals and tests for figures that come from a few prompts with a few seeds each."""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from pipeline.evaluation.known_interval import FEWEST, has_width

LEVEL = 0.95
SAME = 1e-12  # draws no farther apart differ by rounding alone
DIGITS, FINEST = 4, 12  # after the point, of a figure in a record: usually, and at most where its bounds are closer
WORST = 0.1  # share of the prompts that `worst_success` looks at
Name = TypeVar("Name", bound=Hashable)
Z = 1.959964  # of the normal distribution, for LEVEL


@dataclass(frozen=True)
class Estimate:
    """A figure, its 95 % interval, and how many prompts and pictures it rests on.

    Bounds of no width mean that no interval is known (`known_interval.has_interval`), not that the figure is certain.
    """

    value: float
    low: float
    high: float
    prompts: int
    pictures: int


@dataclass(frozen=True)
class RecordedFigure:
    """A figure as records hold it; both bounds are None where no interval is known."""

    value: float
    low: float | None
    high: float | None


def recorded(found: Estimate) -> Estimate:
    """An estimate as records hold it: rounded to `DIGITS`, or to as many more as it takes to tell its bounds apart.

    Bounds that are equal after rounding alone would read as if no interval were known.
    """

    def rounded(digits: int) -> Estimate:
        low, value, high = (round(bound, digits) for bound in (found.low, found.value, found.high))
        return replace(found, low=low, value=value, high=high)

    candidates = (rounded(digits) for digits in range(DIGITS, FINEST + 1))
    return next((one for one in candidates if one.low < one.high), rounded(DIGITS))


def recorded_figure(found: Estimate) -> RecordedFigure:
    """An estimate rounded (`recorded`), with its bounds where it rests on several prompts and they have a
    width.
    """
    written = recorded(found)
    if found.prompts < FEWEST or not has_width({"low": found.low, "high": found.high}):
        return RecordedFigure(written.value, None, None)
    return RecordedFigure(written.value, written.low, written.high)


class Resamples:
    """The same draws of prompts, and of seeds within them, for every figure over a table of `prompts` x `seeds`.

    Seeds belong to their prompt: pictures of one seed and two prompts start from different noise (`suite.noise_of`).
    Figures of two models over the same prompts and seeds are compared pair by pair. Drawing both levels with
    replacement counts the chance of the seeds twice: the variance comes out too large, at most about twice where all of
    it is between the seeds, so that intervals are rather too wide than too narrow.
    """

    def __init__(self, prompts: int, seeds: int, draws: int, seed: int | Sequence[int]):
        if prompts < 1 or seeds < 1:
            raise ValueError("every prompt needs at least one score")
        rng = np.random.default_rng(seed)
        self.rows = rng.integers(prompts, size=(draws, prompts))
        self.columns = rng.integers(seeds, size=(draws, prompts, seeds))

    def means(self, table: np.ndarray) -> np.ndarray:
        """The mean over prompts of the mean over seeds for each draw, float64 [draws], of scores [prompts, seeds]."""
        picked = table.astype(np.float64)[self.rows[:, :, None], self.columns]
        return np.asarray(picked.mean(axis=(1, 2)))


def two_level_bootstrap(scores: Mapping[str, Sequence[float]], resamples: int, seed: int) -> Estimate:
    """Mean over prompts of the mean over seeds, with a percentile interval that draws prompts, then seeds within them.

    Args:
        scores: the scores of each prompt's pictures, one per seed, as many of each prompt.
        resamples: bootstrap draws.

    Raises:
        ValueError: there are no scores, or prompts have different numbers of them.
    """
    counts = {len(values) for values in scores.values()}
    if not scores or 0 in counts:
        raise ValueError("every prompt needs at least one score")
    if len(counts) > 1:
        raise ValueError(f"every prompt needs the same number of scores, found {sorted(counts)}")
    table = np.asarray([list(values) for values in scores.values()], np.float64)
    draws = Resamples(table.shape[0], table.shape[1], resamples, seed).means(table)
    return interval(float(table.mean()), draws, [table])


def interval(
    value: float,
    draws: np.ndarray,
    tables: Sequence[np.ndarray],
    from_shares: Callable[..., Estimate] | None = None,
) -> Estimate:
    """`value` with the percentile interval of its bootstrap `draws`.

    Where no draw differs from another within the interval, the bootstrap says nothing of how certain the value is. If
    all tables hold hits, `from_shares` then gives the interval; otherwise none is known, and both bounds are the value.

    Args:
        draws: float64 [draws].
        tables: the scores that the figure comes from, [prompts, seeds] each; the last one is counted.
        from_shares: makes the figure of one `clustered_share` for each table; None where it is none of shares.
    """
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    counted = tables[-1]
    if high - low > SAME:
        return Estimate(value, float(low), float(high), counted.shape[0], counted.size)
    if from_shares is not None and are_hits(*tables):
        return from_shares(*(clustered_share(table, table) for table in tables))
    return Estimate(value, value, value, counted.shape[0], counted.size)


def are_hits(*tables: np.ndarray) -> bool:
    """Whether all scores of all tables are 0 or 1."""
    return all(bool(np.isin(table, (0, 1)).all()) for table in tables)


def one_share(share: Estimate) -> Estimate:
    """The figure that is a share itself, for `interval`."""
    return share


def paired_gap(best: np.ndarray, other: np.ndarray, draws: int, seed: int) -> tuple[float, float]:
    """How far the mean of `other` is behind that of `best`, and the standard error of that difference.

    Both are scores [prompts, seeds] of the same prompts and noise: what makes a picture hard for both cancels out.
    The error is the standard deviation over `draws` of `Resamples`.
    """
    gap = best - other
    return float(gap.mean()), float(Resamples(gap.shape[0], gap.shape[1], draws, seed).means(gap).std())


def fewest_of(prompts: int, share: float) -> int:
    """How many prompts a share of them is, at least one."""
    return math.ceil(prompts * share)


def lowest_share(table: np.ndarray, share: float, resamples: Resamples) -> Estimate:
    """The mean of the `share` of prompts where scores [prompts, seeds] are lowest, at least one of them.

    Which these are is part of the estimate: they are chosen anew in every draw, of prompts with the seeds that they
    have. Drawing seeds as well would count their chance twice, and the lowest of means that vary more lie lower.
    Of several prompts whose pictures are hits or not, the draws may all find the same (all pictures are hits, or so
    many prompts have none that every draw holds enough of them): the interval is then that of the share of so many
    pictures as the lowest prompts have.
    """
    count = fewest_of(len(table), share)
    means = table.mean(axis=1)
    lowest = table[np.argsort(means, kind="stable")[:count]]
    draws = np.sort(means[resamples.rows], axis=1)[:, :count].mean(axis=1)
    found = interval(float(lowest.mean()), draws, [lowest], one_share if len(table) > 1 else None)
    return replace(found, low=min(found.low, found.value), high=max(found.high, found.value))


def wilson(hits: float, total: float) -> tuple[float, float]:
    """The 95 % interval of a share of independent trials by Wilson (1927): honest where hits are few or none."""
    if total <= 0:
        raise ValueError("a share needs at least one trial")
    share, square = hits / total, Z * Z
    middle = (share + square / (2 * total)) / (1 + square / total)
    half = Z / (1 + square / total) * float(np.sqrt(share * (1 - share) / total + square / (4 * total * total)))
    return min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half))


def intraclass(table: np.ndarray) -> float:
    """How alike the seeds of a prompt are, 0 to 1: the intraclass correlation of scores [prompts, seeds].

    The one-way estimate of Shrout and Fleiss (1979), ICC(1,1), negative ones as 0. It is 1 with one prompt, which
    cannot show how much prompts differ, and 0 where all scores are equal or every prompt has one seed.
    """
    prompts, seeds = table.shape
    if seeds < 2:
        return 0.0
    if prompts < 2:
        return 1.0
    means = table.mean(axis=1)
    between = seeds * float(means.var(ddof=1))
    within = float(((table - means[:, None]) ** 2).sum()) / (prompts * (seeds - 1))
    spread = between + (seeds - 1) * within
    return float(np.clip((between - within) / spread, 0, 1)) if spread > 0 else 0.0


def clustered_share(hits: np.ndarray, nearness: np.ndarray) -> Estimate:
    """A share of pictures with Wilson's interval for as many independent pictures as these are worth.

    Pictures of one prompt are alike: n of them in prompts of m seeds are worth n / (1 + (m - 1) r), where r is the
    intraclass correlation (design effect: Kish 1965; effective size in an interval of a share: Korn and Graubard
    1998). `hits`, 0 or 1 as float64 [prompts, seeds], show no r where hits are few or none; the larger one of theirs
    and of the scores behind them, `nearness` [prompts, seeds], counts.
    """
    effect = 1 + (hits.shape[1] - 1) * max(intraclass(hits), intraclass(nearness))
    low, high = wilson(float(hits.sum()) / effect, hits.size / effect)
    return Estimate(float(hits.mean()), low, high, hits.shape[0], hits.size)


def level(table: np.ndarray, resamples: Resamples) -> Estimate:
    """The mean of scores [prompts, seeds]; of hits, 0 or 1, a share, whose interval has a width at 0 of N too."""
    if are_hits(table):
        return clustered_share(table, table)
    return interval(float(table.mean()), resamples.means(table), [table])


def share_difference(first: Estimate, second: Estimate) -> Estimate:
    """The second share minus the first, with the interval that their own intervals give.

    Newcombe (1998), "Interval estimation for the difference between independent proportions", method 10: the root of
    the squared distances to the bounds. It has a width also where both shares are 0. The two count as independent,
    which makes it wider than need be where the same prompts have hits in both.
    """
    value = second.value - first.value
    below = math.hypot(second.value - second.low, first.high - first.value)
    above = math.hypot(second.high - second.value, first.value - first.low)
    return Estimate(value, value - below, value + above, second.prompts, second.pictures)


def paired_difference(first: np.ndarray, second: np.ndarray, resamples: Resamples) -> Estimate:
    """The mean of `second` minus that of `first`, scores [prompts, seeds] of the same prompts and noise.

    Of hits, 0 or 1, that differ alike in every picture (not at all, or all against none), no draw differs from another:
    the intervals of the two shares give that of their difference.
    """
    gap = second - first
    return interval(float(gap.mean()), resamples.means(gap), [first, second], share_difference)


def share_ratio(first: Estimate, second: Estimate) -> Estimate:
    """The first share over the second, which is not 0, with the interval that their own intervals give.

    MOVER-R (Donner and Zou 2012, "Closed-form confidence intervals for functions of the normal mean and standard
    deviation", section 4), with the bounds of both shares. It has a width also where all or none are hits. The two
    count as independent, as in `share_difference`.
    """
    product = first.value * second.value
    ends = [(first.low, second.high), (first.high, second.low)]
    (low_of_first, high_of_second), (high_of_first, low_of_second) = [
        (end * (2 * first.value - end), other * (2 * second.value - other)) for end, other in ends
    ]
    below = product + math.sqrt(max(0.0, product**2 - low_of_first * high_of_second))
    low = low_of_first / below if product else 0.0
    high = (product + math.sqrt(max(0.0, product**2 - high_of_first * low_of_second))) / low_of_second
    return Estimate(first.value / second.value, low, high, first.prompts, first.pictures)


def sign_flip_test(differences: Sequence[float], flips: int, seed: int) -> float:
    """p-value of the two-sided sign-flip permutation test that paired `differences` have mean zero.

    All sign patterns are tried where there are at most `flips` of them, else so many random ones; the observed one
    counts among them (Phipson and Smyth 2010), so that p is never zero.
    """
    values = np.asarray(differences, np.float64)
    if not len(values):
        raise ValueError("a test needs at least one difference")
    observed = abs(values.mean())
    if len(values) < 31 and 2 ** len(values) <= flips:
        bits = np.arange(2 ** len(values))[:, None] >> np.arange(len(values)) & 1
        means = np.abs(((2 * bits - 1) * values).mean(axis=1))
        return float((means >= observed - 1e-12).mean())
    signs = 2 * np.random.default_rng(seed).integers(0, 2, (flips, len(values)), dtype=np.int8) - 1
    means = np.abs(signs @ values / len(values))
    return float(((means >= observed - 1e-12).sum() + 1) / (flips + 1))


def student_tail(t: float, freedom: float) -> float:
    """The two-sided tail of Student's t distribution beyond |t|, with at least one degree of freedom.

    With t = sqrt(f) tan(a) its density is that of an angle, cos(a)^(f - 1), integrated here by the trapezoid rule.
    """
    angles = np.linspace(math.atan(abs(t) / math.sqrt(freedom)), math.pi / 2, 2001)
    heights = np.clip(np.cos(angles), 0, 1) ** (freedom - 1)
    area = float(((heights[1:] + heights[:-1]) / 2).sum() * (angles[1] - angles[0]))
    scale = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - math.log(math.pi) / 2
    return min(1.0, 2 * area * math.exp(scale))


def welch_test(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """p-value of Welch's two-sided t test (1947) of two means, and half the width of the 95 % interval of their gap.

    Raises:
        ValueError: a sample has fewer than two values, and so no variance.
    """
    samples = [np.asarray(values, np.float64) for values in (first, second)]
    if min(map(len, samples)) < 2:
        raise ValueError("a test of means needs two values on either side")
    parts = [float(values.var(ddof=1)) / len(values) for values in samples]
    gap, error = abs(float(samples[1].mean() - samples[0].mean())), math.sqrt(sum(parts))
    if error < 1e-12:
        return float(gap < 1e-12), 0.0
    freedom = sum(parts) ** 2 / sum(part**2 / (len(values) - 1) for part, values in zip(parts, samples, strict=True))
    low, high = 0.0, 13.0  # t of 95 % is 12.7 with one degree of freedom
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if student_tail(middle, freedom) > 1 - LEVEL else (low, middle)
    return student_tail(gap / error, freedom), high * error


def holm(values: Mapping[Name, float]) -> dict[Name, float]:
    """p-values adjusted for their number by Holm (1979), each at most 1, in the order of `values`."""
    order = sorted(values, key=lambda name: values[name])
    adjusted, highest = {}, 0.0
    for rank, name in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * values[name]))
        adjusted[name] = highest
    return {name: adjusted[name] for name in values}


def kernel_distance(
    first: np.ndarray, second: np.ndarray, prompts: tuple[Sequence[Hashable], Sequence[Hashable]]
) -> float:
    """KID: the squared maximum mean discrepancy of two sets of vectors [n, d] and [m, d], over pairs of two prompts.

    The kernel is (x.y / d + 1)^3 (Binkowski et al. 2018, arXiv 1801.01401). The usual estimate leaves out each vector
    with itself and is unbiased for independent vectors. Pictures of two models that start from the same noise are not:
    their pairs would stand among those of the two sets alone, and make them look nearer than they are. Pictures of one
    prompt are alike as well, whatever their noise. All pairs of one prompt are therefore left out of all three means:
    the estimate is 0 for two sets of the same vectors, has a mean of 0 where no model draws otherwise than the other,
    and is that of a shift which the prompts have in common; it may be negative.

    Args:
        prompts: of each vector of both sets.

    Raises:
        ValueError: the vectors of a set, or of the two, are of one prompt.
    """
    dimension = first.shape[1]

    def mean(one: int, other: int) -> float:
        vectors = [np.asarray((first, second)[at], np.float64) for at in (one, other)]
        apart = np.array([[here != there for there in prompts[other]] for here in prompts[one]], bool)
        if not apart.any():
            raise ValueError("a distance of distributions needs pictures of two prompts on either side")
        return float(((vectors[0] @ vectors[1].T / dimension + 1) ** 3)[apart].mean())

    return mean(0, 0) + mean(1, 1) - 2 * mean(0, 1)
