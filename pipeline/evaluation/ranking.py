"""Which of several settings is best for a subject, each trained several times: one table, intervals that count both
prompts and trainings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.evaluation.comparison import PRIMARY, NotComparable, Primary, reading, score_table, unlike
from pipeline.evaluation.statistics import LEVEL, holm

SIGNIFICANT = 0.05
METRICS = {"success": Primary("pictures that show subject and prompt both", "subject", None, True, 0.05), **PRIMARY}
RULE = (
    "the best is the setting with the highest mean success; another is behind it if the difference, resampled "
    "over trainings, prompts and seeds, keeps its sign (two-sided bootstrap p < 0.05 after Holm)"
)


@dataclass(frozen=True)
class Figure:
    """A mean over trainings, prompts and seeds, with its 95 % interval."""

    value: float
    low: float
    high: float


def rank(settings: Mapping[str, Sequence[dict[str, Any]]], draws: int = 2000, seed: int = 1) -> dict[str, Any]:
    """Put settings in order.

    Intervals come from a bootstrap on three levels: trainings of each setting on its own, prompts and seeds the same
    for all, so that settings are compared pair by pair (Davison and Hinkley 1997, section 3.8).

    Args:
        settings: for each title what `reports/evaluation.json` holds, one for every training seed.

    Returns:
        `sentence`, `rule`, `cautions`, `metric` that decided, `best`, `rows` (best first: `setting`, `trainings`,
        `fit` (how many of them passed all gates), `figures` by metric) and `differences` of each other setting from
        the best (`value`, `low`, `high`, `p`, `differs`).

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
    rows: list[dict[str, Any]] = [
        {
            "setting": title,
            "trainings": len(evaluations),
            "fit": sum(bool(evaluation["verdict"]["promotable"]) for evaluation in evaluations),
            "figures": {
                name: asdict(_figure(float(found[title].mean()), means[name][title]))
                for name, found in tables.items()
                if found
            },
        }
        for title, evaluations in settings.items()
    ]
    rows.sort(key=lambda row: -row["figures"][metric]["value"])
    best = rows[0]["setting"]
    differences = _differences(tables[metric], means[metric], best)
    few = min(len(evaluations) for evaluations in settings.values())
    cautions = []
    if few == 1:
        cautions.append("trained once each: the intervals leave out how much one training differs from the next")
    if shape[1] < 8:
        cautions.append(f"judged on {shape[1]} prompts: too few to show a small difference")
    return {
        "sentence": _sentence(best, metric, rows, differences),
        "rule": RULE,
        "cautions": cautions,
        "metric": metric,
        "best": best,
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
            line[name] = f"{figure['value']:.2f} ({figure['low']:.2f} to {figure['high']:.2f})"
        gap = differences.get(row["setting"])
        line["against the best"] = (
            f"{gap['value']:+.2f} ({gap['low']:+.2f} to {gap['high']:+.2f}), p {gap['p']:.3f}" if gap else "the best"
        )
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
    read = None if any(name in evaluation["missing"] for evaluation in every) else reading(name, every)
    if read is None:
        return {}
    found = {}
    for title, evaluations in settings.items():
        tables = [score_table(METRICS[name], read, evaluation) for evaluation in evaluations]
        if any(table is None for table in tables):
            return {}
        found[title] = np.stack([table for table in tables if table is not None])
    return found


def _differences(tables: dict[str, np.ndarray], means: dict[str, np.ndarray], best: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for title, table in tables.items():
        if title != best:
            gaps = means[title] - means[best]
            share = min(float((gaps <= 0).mean()), float((gaps >= 0).mean()))
            figure = _figure(float(table.mean() - tables[best].mean()), gaps)
            found[title] = {**asdict(figure), "p": min(1.0, 2 * max(share, 1 / len(gaps)))}
    for title, p in holm({title: gap["p"] for title, gap in found.items()}).items():
        found[title] |= {"p": p, "differs": p < SIGNIFICANT}
    return found


def _figure(value: float, draws: np.ndarray) -> Figure:
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Figure(value, float(low), float(high))


def _sentence(best: str, metric: str, rows: list[dict[str, Any]], differences: dict[str, dict[str, Any]]) -> str:
    close = [title for title, gap in differences.items() if not gap["differs"]]
    value = rows[0]["figures"][metric]["value"]
    if not close:
        return f"{best} is best for this subject: {metric} {value:.2f}, and every other setting is behind it."
    if len(close) == len(differences):
        return (
            f"{best} came out first ({metric} {value:.2f}), but its lead over the others is within "
            "the uncertainty; more training seeds or more prompts would narrow it."
        )
    return (
        f"{best} came out first ({metric} {value:.2f}); its lead over {', '.join(close)} is within the uncertainty, "
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
