"""Figures over prompts and seeds, with intervals: the tuned model, the base on the same seeds, and their difference."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from pipeline.evaluation.drawn_picture import DrawnPicture
from pipeline.evaluation.scores import Scores
from pipeline.evaluation.statistics import (
    LEVEL,
    Estimate,
    Resamples,
    interval,
    kernel_distance,
    level,
    paired_difference,
    share_ratio,
)

Picture = tuple[str, str, int]  # model, prompt, seed
Reading = Callable[[dict[str, Any]], float]


@dataclass(frozen=True)
class Line:
    """A row of `evaluation.json`: `model` is tuned, base, difference (tuned - base) or ratio (tuned / base)."""

    metric: str
    model: str
    group: str
    estimate: Estimate


class Table:
    """Scores as tables of prompts x seeds, and the figures over them, with the same bootstrap draws for both models."""

    def __init__(self, scores: Scores, draws: int, seed: int):
        self.scores, self.draws, self.seed = scores, draws, seed
        self.rows: dict[Picture, dict[str, Any]] = {}
        self.prompts: dict[str, DrawnPicture] = {}
        for item, row in zip(scores.drawn, scores.rows, strict=True):
            self.rows[item.model, item.prompt_id, item.seed] = row
            self.prompts.setdefault(item.prompt_id, item)
        self.seeds = sorted({item.seed for item in scores.drawn})
        self.resamples = cache(lambda prompts, seeds: Resamples(prompts, seeds, draws, seed))

    def choose(self, kind: str, wanted: Callable[[DrawnPicture], bool] = lambda item: True) -> list[str]:
        """The ids of the prompts of a kind that are wanted, in the suite's order."""
        return [name for name, item in self.prompts.items() if item.kind == kind and wanted(item)]

    def table(self, model: str, prompts: Sequence[str], read: Reading) -> np.ndarray:
        """float64 [prompts, seeds]."""
        return np.array([[read(self.rows[model, prompt, seed]) for seed in self.seeds] for prompt in prompts], float)

    def pair(self, metric: str, group: str, prompts: Sequence[str], read: Reading) -> list[Line]:
        """Tuned, base and difference of one reading."""
        tuned, base = (self.table(model, prompts, read) for model in ("tuned", "base"))
        gap = paired_difference(base, tuned, self.resamples(*tuned.shape))
        found = {"tuned": self.level(tuned), "base": self.level(base), "difference": gap}
        return [Line(metric, model, group, estimate) for model, estimate in found.items()]

    def ratio(self, metric: str, group: str, tuned: np.ndarray, base: np.ndarray) -> list[Line]:
        """Tuned, base and their ratio, whose interval comes from draws that both share.

        Where no draw of two shares differs from another (all pictures are hits, or none, or the same for both models),
        their intervals give that of the ratio. There is no ratio to nothing: none where the base's mean is 0, or is in
        more of the draws than lie beyond an end of the interval.
        """
        levels = self.level(tuned), self.level(base)
        lines = [Line(metric, model, group, found) for model, found in zip(("tuned", "base"), levels, strict=True)]
        draws = [self.resamples(*table.shape).means(table) for table in (tuned, base)]
        some = draws[1] > 0
        if base.mean() <= 0 or (~some).mean() > (1 - LEVEL) / 2:
            return lines
        ratios = draws[0][some] / draws[1][some]
        beyond = np.full((~some).sum(), ratios.max())  # the few draws without a ratio lie beyond the upper end
        value = float(tuned.mean() / base.mean())
        found = interval(value, np.append(ratios, beyond), [tuned, base], share_ratio)
        return [*lines, Line(metric, "ratio", group, found)]

    def level(self, table: np.ndarray) -> Estimate:
        """The mean of one model's scores with its interval, as `statistics.level` has it."""
        return level(table, self.resamples(*table.shape))


def class_drift(scores: Scores) -> float | None:
    """KID between the tuned model's and the base's pictures of the class; None with fewer than two prompts.

    Both models draw them from the same noise: only pairs of different prompts count, see `kernel_distance`.
    """
    places = {
        model: [
            at
            for at, item in enumerate(scores.drawn)
            if (item.model, item.kind, item.group) == (model, "probe", "class")
        ]
        for model in ("tuned", "base")
    }
    prompts = {model: [scores.drawn[at].prompt_id for at in some] for model, some in places.items()}
    if min(len(set(some)) for some in prompts.values()) < 2:
        return None
    tuned, base = (scores.vectors[places[model]].numpy() for model in ("tuned", "base"))
    return kernel_distance(tuned, base, (prompts["tuned"], prompts["base"]))
