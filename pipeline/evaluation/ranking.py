"""Which of several settings is best for a subject, each trained several times: one table, intervals that count both
prompts and trainings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from pipeline.errors import counted
from pipeline.evaluation.comparison import PRIMARY, NotComparable, Primary, cautions, reading, score_table, unlike
from pipeline.evaluation.known_interval import figure_words, has_width
from pipeline.evaluation.statistics import (
    are_hits,
    clustered_share,
    holm,
    interval,
    one_share,
    share_difference,
    welch_test,
)

SIGNIFICANT = 0.05
METRICS = {"success": Primary("pictures that show subject and prompt both", "subject", None, True, 0.05), **PRIMARY}
STEADY = 5  # trainings of each setting, from which resampling them shows how much they differ
NO_SUCCESS = (
    "success was not measured in all of them, or by photos of their own, and decides nothing: likeness, which knows "
    "nothing of the rest of the prompt, decides"
)


def rule(metric: str) -> str:
    """How a comparison is decided, by `metric`."""
    return (
        f"first is the setting with the highest mean {metric}; another is behind it if Welch's test of the trainings' "
        "means, which needs two trainings of either, and the difference resampled over trainings, prompts and seeds "
        "both say so (two-sided, p < 0.05 after Holm over all pairs of settings, since the same figures decide which "
        "is first), and the interval of the difference excludes 0"
    )


@dataclass(frozen=True)
class Figure:
    """A mean over trainings, prompts and seeds, with its 95 % interval."""

    value: float
    low: float
    high: float


def rank(settings: Mapping[str, Sequence[dict[str, Any]]], draws: int = 2000, seed: int = 1) -> dict[str, Any]:
    """Put settings in order.

    A few trainings, resampled, differ less than trainings do: of n the bootstrap sees (n - 1) / n of the variance,
    and no value beyond those that it was given. Which setting is behind is therefore also a matter of a test over
    the trainings' means, see `rule`. Intervals come from a bootstrap on three levels: trainings of each setting on its
    own, prompts and seeds the same for all, so that settings are compared pair by pair (Davison and Hinkley 1997,
    section 3.8).

    Args:
        settings: for each title what `reports/evaluation.json` holds, one for every training seed.

    Returns:
        `sentence`, `rule`, `cautions`, `metric` that decided, `first` (the setting), `rows` (in order: `setting`,
        `trainings`, `fit` (how many of them passed all gates), `figures` by metric) and `differences` of each other
        setting from the first (`value`, `low`, `high`, `p`, `differs`; the wider one of the two tests' intervals).

    Raises:
        NotComparable: fewer than two settings, one without a training, or two that were judged in different ways.
    """
    _check(settings)
    tables = {name: _tables(name, settings) for name in METRICS}
    metric = "success" if tables["success"] else "likeness"
    shape = next(iter(tables[metric].values())).shape
    bootstrap = _Bootstrap(draws, seed)
    means = {
        name: {title: bootstrap.means(table, index) for index, (title, table) in enumerate(found.items())}
        for name, found in tables.items()
    }

    def of(title: str, every: dict[str, dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        return {name: found[title] for name, found in every.items() if found}

    rows: list[dict[str, Any]] = [
        {
            "setting": title,
            "trainings": len(evaluations),
            "fit": sum(bool(evaluation["verdict"]["promotable"]) for evaluation in evaluations),
            "figures": {
                name: asdict(figure)
                for name, figure in _figures(evaluations, of(title, tables), of(title, means)).items()
            },
        }
        for title, evaluations in settings.items()
    ]
    rows.sort(key=lambda row: -row["figures"][metric]["value"])
    first = rows[0]["setting"]
    differences = _differences(tables[metric], means[metric], first)
    return {
        "sentence": _sentence(first, metric, rows, differences),
        "rule": rule(metric),
        "cautions": _cautions(min(map(len, settings.values())), shape[1])
        + cautions([one for evaluations in settings.values() for one in evaluations])
        + [NO_SUCCESS] * (metric != "success"),
        "metric": metric,
        "first": first,
        "rows": rows,
        "differences": differences,
    }


def table_rows(ranking: dict[str, Any]) -> list[dict[str, str]]:
    """The ranking for people: a row for each setting, figures as `0.71 (0.66 to 0.75)`."""
    differences, found = ranking["differences"], []
    for row in ranking["rows"]:
        line = {"setting": row["setting"], "trainings": str(row["trainings"])}
        line["all gates passed"] = f"{row['fit']} of {row['trainings']}"
        for name, figure in row["figures"].items():
            line[name] = figure_words(figure, 2)
        gap = differences.get(row["setting"])
        line["against the first"] = f"{figure_words(gap, 2, '+')}, p {gap['p']:.3f}" if gap else "the first"
        found.append(line)
    return found


class _Bootstrap:
    """Draws of prompts and seeds that all settings share; of trainings, each setting's own."""

    def __init__(self, draws: int, seed: int):
        self.draws, self.seed = draws, seed

    def means(self, table: np.ndarray, index: int) -> np.ndarray:
        """The mean of each draw, float64 [draws], of scores [trainings, prompts, seeds] of setting number `index`."""
        trainings, prompts, seeds = table.shape
        shared, own = np.random.default_rng(self.seed), np.random.default_rng([self.seed, index])
        rows = shared.integers(prompts, size=(self.draws, 1, prompts, 1))
        columns = shared.integers(seeds, size=(self.draws, 1, prompts, seeds))
        which = own.integers(trainings, size=(self.draws, trainings, 1, 1))
        return np.asarray(table[which, rows, columns].mean(axis=(1, 2, 3)))


def _tables(name: str, settings: Mapping[str, Sequence[dict[str, Any]]]) -> dict[str, np.ndarray]:
    """Scores [trainings, prompts, seeds] of each setting; nothing where one of them lacks the metric."""
    every = [evaluation for evaluations in settings.values() for evaluation in evaluations]
    read = reading(name, every)
    if read is None:
        return {}
    found = {}
    for title, evaluations in settings.items():
        tables = [score_table(METRICS[name], read, evaluation) for evaluation in evaluations]
        if any(table is None for table in tables):
            return {}
        found[title] = np.stack([table for table in tables if table is not None])
    return found


def _differences(tables: dict[str, np.ndarray], means: dict[str, np.ndarray], first: str) -> dict[str, dict[str, Any]]:
    """Of each other setting from the first; p-values are adjusted for all pairs, among which the data chose these."""
    pairs = list(combinations(sorted(tables, key=lambda title: title != first), 2))
    found = {pair: _difference(*(tables[title] for title in pair), *(means[title] for title in pair)) for pair in pairs}
    adjusted = holm({pair: gap["p"] for pair, gap in found.items()})
    return {
        other: gap | {"p": adjusted[one, other], "differs": adjusted[one, other] < SIGNIFICANT and _excludes_zero(gap)}
        for (one, other), gap in found.items()
        if one == first
    }


def _excludes_zero(gap: dict[str, Any]) -> bool:
    return has_width(gap) and bool(gap["low"] > 0 or gap["high"] < 0)


def _difference(one: np.ndarray, other: np.ndarray, of_one: np.ndarray, of_other: np.ndarray) -> dict[str, Any]:
    """`other` minus `one`, scores [trainings, prompts, seeds] with the means of their draws; the more cautious of two
    tests, and the wider of their intervals. With one training of either nothing is known: p is 1.

    Where the means differ alike in every draw, the intervals of two shares give that of their difference
    (`statistics.interval`).
    """
    gaps, value = of_other - of_one, float(other.mean() - one.mean())
    share = min(float((gaps <= 0).mean()), float((gaps >= 0).mean()))
    p = min(1.0, 2 * max(share, 1 / len(gaps)))
    trained = [table.mean(axis=(1, 2)) for table in (one, other)]
    test, half = welch_test(*trained) if min(map(len, trained)) > 1 else (1.0, 0.0)
    figure = interval(value, gaps, [_by_prompt(one), _by_prompt(other)], share_difference)
    return {
        "value": value,
        "low": min(figure.low, value - half),
        "high": max(figure.high, value + half),
        "p": max(p, test),
    }


def _figures(
    evaluations: Sequence[dict[str, Any]], tables: dict[str, np.ndarray], draws: dict[str, np.ndarray]
) -> dict[str, Figure]:
    """Of one setting, by metric; a share has Wilson's interval where that is wider, as it is at 0 and at 1."""
    found = {}
    for name, table in tables.items():
        drawn, hits = interval(float(table.mean()), draws[name], [_by_prompt(table)], one_share), _by_prompt(table)
        found[name] = Figure(drawn.value, drawn.low, drawn.high)
        if are_hits(table):
            share = clustered_share(hits, _by_prompt(_nearness(evaluations)) if name == "copied" else hits)
            found[name] = Figure(share.value, min(drawn.low, share.low), max(drawn.high, share.high))
    return found


def _nearness(evaluations: Sequence[dict[str, Any]]) -> np.ndarray:
    """How near each picture is to a training photo, float64 [trainings, prompts, seeds]."""
    return np.array([score_table(METRICS["copied"], lambda row: row["copy"], one) for one in evaluations], float)


def _by_prompt(table: np.ndarray) -> np.ndarray:
    """Scores [trainings, prompts, seeds] as [prompts, trainings * seeds]: a prompt's pictures by all may be alike."""
    return table.swapaxes(0, 1).reshape(table.shape[1], -1)


def _cautions(trainings: int, prompts: int) -> list[str]:
    found = []
    if trainings == 1:
        found.append(
            "a setting was trained once: its interval leaves out how much one training differs from the next, and it "
            "is called neither better nor behind"
        )
    elif trainings < STEADY:
        found.append(
            f"a setting was trained {trainings} times: intervals of single settings are too narrow for so few, and "
            "only a large lead can be told from chance"
        )
    if prompts < 8:
        found.append(f"judged on {counted(prompts, 'prompt')}: too few to show a small difference")
    return found


def _sentence(first: str, metric: str, rows: list[dict[str, Any]], differences: dict[str, dict[str, Any]]) -> str:
    close = [title for title, gap in differences.items() if not gap["differs"]]
    value = rows[0]["figures"][metric]["value"]
    if not close:
        return f"{first} is best for this subject: {metric} {value:.2f}, and every other setting is behind it."
    if len(close) == len(differences):
        return (
            f"{first} came out first ({metric} {value:.2f}), but its lead over the others is within "
            "the uncertainty; more training seeds or more prompts would narrow it."
        )
    return (
        f"{first} came out first ({metric} {value:.2f}); its lead over {', '.join(close)} is within the uncertainty, "
        "its lead over the others is not."
    )


def _check(settings: Mapping[str, Sequence[dict[str, Any]]]) -> None:
    if len(settings) < 2:
        raise NotComparable(f"a comparison needs two settings that were judged, found {len(settings)}")
    reference = next((evaluations[0] for evaluations in settings.values() if evaluations), None)
    for title, evaluations in settings.items():
        if not evaluations or reference is None:
            raise NotComparable(f"no training of {title} was judged")
        for evaluation in evaluations:
            if reasons := unlike(reference, evaluation):
                raise NotComparable(f"{title} was judged in another way than the others: {'; '.join(reasons)}")
