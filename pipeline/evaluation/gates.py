"""Gates: what must hold before a model may be promoted, each with its value, interval, threshold and verdict."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pipeline.params import Gates

Verdict = Literal["passed", "failed", "missing", "off"]


@dataclass(frozen=True)
class Rule:
    """How a gate is judged: a row of the metrics, its `bound` that counts, and whether that must be at most or least.

    `says` is what a person reads when it fails; `sign` -1 turns a gain into a loss.
    """

    failure: str
    metric: str
    model: str
    bound: Literal["value", "low", "high", "size"]
    most: bool
    says: str
    sign: int = 1


RULES: dict[str, Rule] = {
    "likeness": Rule(
        "not the subject", "likeness", "tuned", "low", False, "its pictures do not come near enough to the subject"
    ),
    "copies": Rule("memorisation", "copied", "tuned", "high", True, "it repeats training photos"),
    "train_gap": Rule(
        "memorisation", "train_gap", "difference", "value", True, "it knows its training photos, not the subject"
    ),
    "diversity": Rule(
        "memorisation", "diversity", "ratio", "value", False, "it draws the same picture again and again"
    ),
    "class_likeness": Rule(
        "forgetting", "class_likeness", "difference", "high", True, "the class alone turns into the subject"
    ),
    "class_as_subject": Rule(
        "forgetting", "class_as_subject", "difference", "value", True, "the class alone passes as the subject"
    ),
    "subject_free": Rule("forgetting", "subject_free", "difference", "value", True, "it forgot other things", sign=-1),
    "style": Rule("style mixing", "style", "ratio", "value", False, "it does not draw in the style asked for"),
    "style_leak": Rule("style mixing", "style_leak", "difference", "value", True, "its photos turn into another style"),
    "animal": Rule("style mixing", "animal", "difference", "value", True, "the subject turns into the real animal"),
    "success": Rule("instability", "success", "tuned", "value", False, "too few pictures show the subject as asked"),
    "worst_success": Rule("instability", "worst_success", "tuned", "value", False, "some prompts hardly ever work"),
    "name_forms": Rule("instability", "name_forms", "tuned", "size", True, "it depends on how the subject is named"),
}


@dataclass(frozen=True)
class Gate:
    """The verdict of one gate; `value`, `low` and `high` are None where it could not be measured or is off."""

    gate: str
    failure: str
    metric: str
    bound: str
    direction: str
    threshold: float | None
    value: float | None
    low: float | None
    high: float | None
    verdict: Verdict
    reason: str


def judge_gates(evaluation: dict[str, Any], thresholds: Gates, by_value: bool = False) -> list[dict[str, Any]]:
    """Every gate's verdict; what is missing is never passed. `by_value` judges all by value, whatever their bound.

    The overall group of a metric counts, or the only one that it has.
    """
    values = thresholds.model_dump()
    return [asdict(_judge(name, rule, values[name], evaluation, by_value)) for name, rule in RULES.items()]


def overall(gates: list[dict[str, Any]]) -> dict[str, Any]:
    """`promotable`, the `failures` found, and the reason in one sentence for a person."""
    failed = [gate for gate in gates if gate["verdict"] == "failed"]
    missing = [gate for gate in gates if gate["verdict"] == "missing"]
    judged = sum(gate["verdict"] != "off" for gate in gates)
    if failed:
        reasons = _listed(list(dict.fromkeys(RULES[gate["gate"]].says for gate in failed)))
        count = f"{len(failed)} of {judged} gates failed"
        sentence = f"Not to be promoted: {reasons} ({count})."
    elif missing:
        names = _listed([gate["gate"] for gate in missing])
        sentence = f"Not to be promoted: {names} could not be measured, and what is not measured has not passed."
    elif not judged:
        sentence = "Not to be promoted: every gate is switched off, so that nothing was judged."
    else:
        sentence = f"Fit for promotion: all {judged} gates passed."
    failures = list(dict.fromkeys(gate["failure"] for gate in failed))
    return {"promotable": not failed and not missing and judged > 0, "failures": failures, "sentence": sentence}


def _judge(name: str, rule: Rule, threshold: float | None, evaluation: dict[str, Any], by_value: bool) -> Gate:
    bound = rule.bound if not by_value or rule.bound == "size" else "value"
    direction = "at most" if rule.most else "at least"
    rows = [row for row in evaluation["metrics"] if (row["metric"], row["model"]) == (rule.metric, rule.model)]
    rows = [row for row in rows if row["group"] == "all"] or rows

    def gate(verdict: Verdict, reason: str, row: dict[str, Any] | None = None) -> Gate:
        value, low, high = _signed(row, rule.sign) if row else (None, None, None)
        return Gate(name, rule.failure, rule.metric, bound, direction, threshold, value, low, high, verdict, reason)

    if threshold is None:
        return gate("off", "switched off in params.yaml", rows[0] if rows else None)
    if not rows:
        return gate("missing", evaluation["missing"].get(rule.metric, "it could not be measured"))
    value, low, high = _signed(rows[0], rule.sign)
    counted = {"value": value, "low": low, "high": high, "size": abs(value)}[bound]
    holds: Callable[[float, float], bool] = (lambda a, b: a <= b) if rule.most else (lambda a, b: a >= b)
    if holds(counted, threshold):
        return gate("passed", "", rows[0])
    return gate("failed", rule.says, rows[0])


def _signed(row: dict[str, Any], sign: int) -> tuple[float, float, float]:
    value, low, high = (float(row[name]) for name in ("value", "low", "high"))
    return (value, low, high) if sign > 0 else (-value, -high, -low)


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
