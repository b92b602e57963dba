"""The figures of one recipe on the tuning suite, and which of several is chosen."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.evaluation.gates import shortfalls
from pipeline.evaluation.likeness import likeness_metric
from pipeline.evaluation.statistics import paired_gap
from pipeline.sampling.recipe import Recipe
from pipeline.tuning.space import parts_of

ROUNDING = 1e-4  # figures have four digits: between two that differ by one of the last there may be nothing
RULE = (
    "recipes that by value fail no gate but what the default fails by as much (one that is measured for the default "
    "and not for the recipe counts as failed, one that is measured for neither fails nobody); of the mean product of "
    "likeness and fidelity, those within one standard error of the best, picture by picture on the same noise; of "
    "these the one that changes the fewest parts, then the best"
)


@dataclass(frozen=True)
class Trial:
    """A recipe's figures; `scores` are likeness x fidelity, float64 [prompts, seeds] in the suite's order.

    `failed` says of the gates that its values fail how far beyond the threshold they are, see `shortfalls`; `missing`
    are gates that are on but could not be measured.
    """

    recipe: Recipe
    likeness: float
    fidelity: float
    success: float | None
    failed: Mapping[str, float]
    scores: np.ndarray = field(repr=False)
    missing: tuple[str, ...] = ()

    @property
    def lost(self) -> dict[str, float]:
        """How far beyond its threshold each gate is that is not passed: infinitely far where there is no value."""
        return {**self.failed, **dict.fromkeys(self.missing, math.inf)}

    @property
    def merit(self) -> float:
        return float(self.scores.mean())

    @property
    def parts(self) -> tuple[str, ...]:
        return parts_of(self.recipe)


def summarise(recipe: Recipe, evaluation: dict[str, Any], gates: Sequence[dict[str, Any]]) -> Trial:
    """The figures of a recipe, from the evaluation (`judge`) of its pictures and their gates by value."""
    pairs, success = picture_scores(evaluation)
    return Trial(
        recipe=recipe,
        likeness=float(pairs[..., 0].mean()),
        fidelity=float(pairs[..., 1].mean()),
        success=None if success is None else float(success.mean()),
        failed=shortfalls(gates, ("failed",)),
        scores=np.clip(pairs, 0, None).prod(axis=2),
        missing=tuple(shortfalls(gates, ("missing",))),
    )


def picture_scores(evaluation: dict[str, Any]) -> tuple[np.ndarray, np.ndarray | None]:
    """Likeness and fidelity of the subject's pictures by the tuned model, float64 [prompts, seeds, 2]; and success.

    Success, float64 [prompts, seeds], is None where it was not measured.
    """
    name = likeness_metric(evaluation)
    rows = [row for row in evaluation["pictures"] if (row["model"], row["kind"]) == ("tuned", "subject")]
    prompts: dict[str, list[list[float]]] = {}
    for row in sorted(rows, key=lambda row: (row["prompt_id"], row["seed"])):
        found = [row[name], row["prompt_fidelity"], row.get("success", np.nan)]
        prompts.setdefault(row["prompt_id"], []).append(found)
    table = np.array(list(prompts.values()), float)
    return table[..., :2], None if np.isnan(table[..., 2]).any() else table[..., 2]


def behind(best: Trial, other: Trial, draws: int, seed: int) -> tuple[float, float]:
    """How much less merit `other` has than `best`, and the standard error of that, paired by prompt and seed."""
    return paired_gap(best.scores, other.scores, draws, seed)


def newly_failed(failed: Mapping[str, float], by_default: Mapping[str, float]) -> list[str]:
    """The gates that a recipe does not pass and the default passes, or misses by less than the recipe does.

    They keep it from being chosen, and from being adopted. Differences within `ROUNDING` count as none.

    Args:
        failed, by_default: how far beyond the threshold the values of failed gates are, and infinite for gates that
            could not be measured, see `shortfalls`.
    """
    return [
        gate for gate, short in failed.items() if gate not in by_default or short > by_default[gate] + ROUNDING + 1e-9
    ]


def eligible(trials: Sequence[Trial], default: Trial) -> list[Trial]:
    """The trials whose gates let them be chosen, see `RULE`; the default is one of them."""
    return [trial for trial in trials if not newly_failed(trial.lost, default.lost)]


def order(trials: Sequence[Trial], default: Trial) -> list[Trial]:
    """The best first: those that a gate excludes (`newly_failed`, on the same pictures) come last."""
    return sorted(trials, key=lambda trial: (bool(newly_failed(trial.lost, default.lost)), -trial.merit))


def choose(trials: Sequence[Trial], default: Trial, draws: int, seed: int) -> Trial:
    """The chosen trial, by `RULE`. `default` is one of `trials`."""
    candidates = eligible(trials, default)
    best = max(candidates, key=lambda trial: trial.merit)
    near = []
    for trial in candidates:
        gap, error = behind(best, trial, draws, seed)
        if gap <= error:
            near.append(trial)
    return min(near, key=lambda trial: (len(trial.parts), -trial.merit))
