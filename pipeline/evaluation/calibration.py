"""Thresholds of gates from checkpoints that are known to be good or faulty.

A gate can tell them apart where a faulty checkpoint lies beyond every good one. Its threshold is then half way between
the good one that comes nearest to failing and the faulty one that fails most. A gate that none of the faulty ones
touches keeps its threshold, loosened to the good ones where it would fail one of them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.errors import UserError
from pipeline.evaluation.comparison import judged_apart, short
from pipeline.evaluation.gates import RULES, judge_gates
from pipeline.params import HIGHEST_THRESHOLD, LOWEST_THRESHOLD, Gates

Outcome = Literal["set", "kept", "loosened", "off", "not measured"]
OWN = "held-out photos"  # a checkpoint that was planted on fewer photos has others
# What the figures of gates depend on beside what makes two checkpoints comparable.
RULED_BY: dict[str, Callable[[dict[str, Any]], Any]] = {
    "evaluate.success_way": lambda evaluation: evaluation.get("settings", {}).get("success_way"),
    "evaluate.success_fidelity": lambda evaluation: evaluation.get("settings", {}).get("success_fidelity"),
    "evaluate.bootstrap": lambda evaluation: evaluation.get("settings", {}).get("bootstrap"),
    "LPIPS": lambda evaluation: (evaluation.get("perceptual") or {}).get("digest"),
}


class NotCalibrated(UserError):
    """The checkpoints cannot calibrate these gates."""


@dataclass(frozen=True)
class Calibrated:
    """One gate: the threshold before and after, the good checkpoint nearest to failing, the faulty one that fails
    most, by the figure that the gate counts (value, or a bound of its interval).

    `beyond` is the threshold that they ask for where no gate can have it: `after` is then the nearest that it can.
    """

    gate: str
    outcome: Outcome
    before: float | None
    after: float | None
    good: float | None
    faulty: float | None
    by: str | None
    beyond: float | None = None

    @property
    def clipped(self) -> str:
        """A sentence where no gate can have the threshold that the checkpoints ask for; else ''."""
        if self.beyond is None:
            return ""
        return (
            f"{self.gate}: the checkpoints ask for a threshold of {self.beyond:g}; gates take {LOWEST_THRESHOLD} to "
            f"{HIGHEST_THRESHOLD}, so it is {self.after:g}"
        )


def calibrate(
    good: Sequence[dict[str, Any]], faulty: Mapping[str, dict[str, Any]], thresholds: Gates
) -> list[Calibrated]:
    """A threshold for each gate.

    All answered the same prompts, except for `caption_copies`: each checkpoint drew captions of its own photos.

    Args:
        good: evaluations of checkpoints that a person approved.
        faulty: evaluations of checkpoints with a planted fault, by name.
        thresholds: as they are; a gate that is off stays off.

    Raises:
        NotCalibrated: no checkpoint of one kind, or they were judged in different ways.
    """
    if not good or not faulty:
        raise NotCalibrated("calibration needs at least one good and one faulty checkpoint (--good and --faulty)")
    for name, evaluation in [*((f"good {at}", one) for at, one in enumerate(good, 1)), *faulty.items()]:
        apart = judged_apart(good[0], evaluation)
        apart |= {title: (read(good[0]), read(evaluation)) for title, read in RULED_BY.items()}
        for title, (first, other) in apart.items():
            if title != OWN and first != other:
                raise NotCalibrated(
                    f"{name} was judged in another way than good 1: another {title} ({short(other)}, not "
                    f"{short(first)}); judge both with the same parameters, then calibrate again"
                )
    found = [_counted(evaluation, thresholds) for evaluation in good]
    bad = {name: _counted(evaluation, thresholds) for name, evaluation in faulty.items()}
    return [_gate(name, thresholds.model_dump()[name], found, bad) for name in RULES]


def check(
    rows: Sequence[Calibrated], good: Mapping[str, dict[str, Any]], faulty: Mapping[str, dict[str, Any]]
) -> dict[str, list[str]]:
    """The gates that each checkpoint fails with the new thresholds, by its name."""
    gates = Gates(**{row.gate: row.after for row in rows})
    return {
        name: [gate["gate"] for gate in judge_gates(evaluation, gates) if gate["verdict"] in ("failed", "missing")]
        for name, evaluation in {**good, **faulty}.items()
    }


def _counted(evaluation: dict[str, Any], thresholds: Gates) -> dict[str, float | None]:
    """The figure that each gate counts, turned so that more is better."""
    found: dict[str, float | None] = {}
    for gate in judge_gates(evaluation, thresholds):
        value = gate["value"] if gate["bound"] in ("value", "size") else gate[gate["bound"]]
        if value is not None and gate["bound"] == "size":
            value = abs(value)
        if value is not None and gate["gate"] == "wording":  # below 0 wordings differ less than seeds would by chance
            value = max(0.0, value)
        found[gate["gate"]] = None if value is None else -value if RULES[gate["gate"]].most else value
    return found


def _gate(
    name: str,
    before: float | None,
    good: Sequence[dict[str, float | None]],
    faulty: Mapping[str, dict[str, float | None]],
) -> Calibrated:
    sign = -1 if RULES[name].most else 1
    values = [one[name] for one in good]
    known = {key: value for key, one in faulty.items() if (value := one[name]) is not None}
    least = None if None in values else min(value for value in values if value is not None)
    by = min(known, key=known.__getitem__, default=None)
    worst = None if by is None else known[by]

    def made(outcome: Outcome, after: float | None) -> Calibrated:
        plain = [None if value is None else sign * value for value in (least, worst)]
        within = None if after is None else float(min(max(after, LOWEST_THRESHOLD), HIGHEST_THRESHOLD))
        return Calibrated(name, outcome, before, within, plain[0], plain[1], by, after if within != after else None)

    if before is None:
        return made("off", None)
    if least is None:
        return made("not measured", before)
    if worst is not None and worst < least:
        return made("set", sign * _rounded((least + worst) / 2, least))
    return made("kept", before) if least >= sign * before else made("loosened", sign * _rounded(least, least))


def _rounded(value: float, at_most: float) -> float:
    """To three digits, downwards where rounding would pass `at_most`."""
    if value == 0:
        return 0.0
    step = 10.0 ** (math.floor(math.log10(abs(value))) - 2)
    nearest = round(value / step) * step
    return float(f"{(nearest if nearest <= at_most else math.floor(value / step) * step):.10g}")
