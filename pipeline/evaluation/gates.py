"""Gates: what must hold before a model may be promoted, each with its value, interval, threshold and verdict."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pipeline.errors import counted, joined
from pipeline.evaluation.known_interval import FEWEST, has_interval
from pipeline.evaluation.reasons import NO_BASE_FIGURE, NO_CAPTIONS, NO_WIDTH
from pipeline.evaluation.suite import CAPTIONS
from pipeline.params import Gates

Verdict = Literal["passed", "failed", "missing", "off"]


@dataclass(frozen=True)
class Rule:
    """How a gate is judged: a row of the metrics, its `bound` that counts, and whether that must be at most or least.

    `finding` is the sentence for a person when the value itself fails; `sign` -1 turns a gain into a loss.
    """

    failure: str
    metric: str
    model: str
    bound: Literal["value", "low", "high", "size"]
    most: bool
    finding: str
    sign: int = 1
    group: str | None = None  # of prompts; None: all of them, or the only group that the metric has


RULES: dict[str, Rule] = {
    "likeness": Rule(
        "not the subject", "likeness", "tuned", "low", False, "its pictures do not come near enough to the subject"
    ),
    "copies": Rule("memorisation", "copied", "tuned", "high", True, "it repeats training photos", group="all"),
    "caption_copies": Rule(
        "memorisation",
        "copied",
        "tuned",
        "value",
        True,
        "asked for captions of training photos, it repeats the photos",
        group=CAPTIONS,
    ),
    "train_gap": Rule(
        "memorisation",
        "train_gap",
        "difference",
        "value",
        True,
        "its pictures resemble the training photos more than the held-out ones, by more than is allowed",
    ),
    "diversity": Rule(
        "memorisation",
        "diversity",
        "ratio",
        "value",
        False,
        "pictures of one prompt differ too little from seed to seed",
    ),
    "class_likeness": Rule(
        "forgetting",
        "class_likeness",
        "difference",
        "high",
        True,
        "pictures of the class alone come too near to the subject",
    ),
    "class_as_subject": Rule(
        "forgetting",
        "class_as_subject",
        "difference",
        "value",
        True,
        "too many pictures of the class alone pass as the subject",
    ),
    "subject_free": Rule(
        "forgetting",
        "subject_free",
        "difference",
        "value",
        True,
        "it follows prompts without the subject too much less well than the base",
        sign=-1,
    ),
    "style": Rule(
        "style mixing",
        "style",
        "ratio",
        "value",
        False,
        "it draws the style asked for too seldom, compared with the base",
    ),
    "style_leak": Rule(
        "style mixing",
        "style_leak",
        "difference",
        "value",
        True,
        "too many of its photo prompts turn into another style",
    ),
    "animal": Rule(
        "style mixing", "animal", "difference", "value", True, "too many pictures are read as the real animal"
    ),
    "success": Rule("instability", "success", "tuned", "value", False, "too few pictures show the subject as asked"),
    "worst_success": Rule(
        "instability", "worst_success", "tuned", "value", False, "too few pictures succeed on the worst prompts"
    ),
    "name_forms": Rule(
        "instability", "name_forms", "tuned", "size", True, "success depends too much on how the subject is named"
    ),
    "wording": Rule(
        "instability", "wording", "tuned", "value", True, "success depends too much on how one meaning is worded"
    ),
    "complex": Rule(
        "instability", "complex", "tuned", "value", False, "too few pictures of prompts with several factors succeed"
    ),
    "control": Rule(
        "control", "control", "tuned", "value", False, "drawings follow the control pictures asked for too little"
    ),
    "control_cost": Rule(
        "control", "control_cost", "tuned", "value", True, "following a control picture costs too much of the likeness"
    ),
}
# What a gate that fails by the bound of its interval alone cannot rule out.
UNSURE = {
    "likeness": "too few pictures to be sure that they come near enough to the subject",
    "copies": "too few pictures to rule out copies",
    "caption_copies": "no copy was seen, and fewer than none are allowed",
    "class_likeness": "too few pictures to rule out that the class alone comes too near to the subject",
}


@dataclass(frozen=True)
class Gate:
    """The verdict of one gate.

    `value`, `low` and `high` are None where there is no figure, and the bounds also where it has no interval
    (`has_interval`).
    """

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


def shortfalls(gates: Sequence[dict[str, Any]], verdicts: Sequence[Verdict]) -> dict[str, float]:
    """How far beyond its threshold the value of each gate with one of these verdicts is, by the gate's name.

    It is negative where the value holds and the bound of its interval does not, and infinite where there is no value.
    """
    found = {}
    for gate in gates:
        if gate["verdict"] not in verdicts:
            continue
        value, threshold = gate["value"], gate["threshold"]
        if value is None or threshold is None:
            found[gate["gate"]] = math.inf
        else:
            counted = abs(value) if gate["bound"] == "size" else value
            found[gate["gate"]] = counted - threshold if gate["direction"] == "at most" else threshold - counted
    return found


def overall(gates: list[dict[str, Any]], objections: Sequence[str] = ()) -> dict[str, Any]:
    """`promotable`, the `failures` found, and the reason in one sentence for a person.

    `objections` keep a model from promotion whatever its gates say.
    """
    failed = [gate for gate in gates if gate["verdict"] == "failed"]
    missing = [gate for gate in gates if gate["verdict"] == "missing"]
    off = sum(gate["verdict"] == "off" for gate in gates)
    on = len(gates) - off
    findings = list(dict.fromkeys(gate["reason"] or RULES[gate["gate"]].finding for gate in failed))
    counts = [f"{len(failed)} of {_gates(on)} failed"] if failed else []
    counts += [f"{_are(off)} switched off"] if off and on else []
    if missing:
        names = joined([gate["gate"] for gate in missing])
        findings.append(f"{names} could not be measured, and a gate without a measurement counts as not passed")
    findings += objections
    if not on:
        sentence = "Not to be promoted: every gate is switched off, so nothing was judged."
    elif findings:
        sentence = f"Not to be promoted: {'; '.join(findings)}{f' ({joined(counts)})' if counts else ''}."
    elif off:
        passed = "the only gate that is on passed" if on == 1 else f"the {on} gates that are on passed"
        sentence = f"Fit for promotion: {passed}; {_are(off)} switched off."
    else:
        sentence = f"Fit for promotion: all {on} gates passed."
    failures = list(dict.fromkeys(gate["failure"] for gate in failed))
    promotable = not failed and not missing and not objections and on > 0
    return {"promotable": promotable, "failures": failures, "sentence": sentence}


def _judge(name: str, rule: Rule, threshold: float | None, evaluation: dict[str, Any], by_value: bool) -> Gate:
    bound = rule.bound if not by_value or rule.bound == "size" else "value"
    direction = "at most" if rule.most else "at least"
    rows = [row for row in evaluation["metrics"] if (row["metric"], row["model"]) == (rule.metric, rule.model)]
    if rule.group is None:
        rows = [row for row in rows if row["group"] == "all"] or rows
    else:
        rows = [row for row in rows if row["group"] == rule.group]

    def gate(verdict: Verdict, reason: str, row: dict[str, Any] | None = None) -> Gate:
        value, low, high = _signed(row, rule.sign) if row else (None, None, None)
        if row and not has_interval(row):
            low = high = None
        return Gate(name, rule.failure, rule.metric, bound, direction, threshold, value, low, high, verdict, reason)

    if threshold is None:
        return gate("off", "switched off in params.yaml", rows[0] if rows else None)
    if not rows:
        return gate("missing", evaluation["missing"].get(rule.metric) or _why_unmeasured(rule, evaluation))
    value, low, high = _signed(rows[0], rule.sign)
    counted = {"value": value, "low": low, "high": high, "size": abs(value)}[bound]
    holds: Callable[[float, float], bool] = (lambda a, b: a <= b) if rule.most else (lambda a, b: a >= b)
    if bound in ("low", "high") and not has_interval(rows[0]):
        found = rows[0].get("prompts", FEWEST)
        few = f"an interval needs at least {FEWEST} prompts, found {found}" if found < FEWEST else NO_WIDTH
        return gate("missing", few, rows[0])
    if holds(counted, threshold):
        return gate("passed", "", rows[0])
    return gate("failed", _reason(name, rule, bound, threshold, rows[0], holds(value, threshold)), rows[0])


def _why_unmeasured(rule: Rule, evaluation: dict[str, Any]) -> str:
    """Why a figure that the pictures could have given is not there."""
    if rule.group == CAPTIONS:
        return NO_CAPTIONS
    if rule.model == "ratio" and any(row["metric"] == rule.metric for row in evaluation["metrics"]):
        return NO_BASE_FIGURE
    return "it could not be measured"


def _reason(name: str, rule: Rule, bound: str, threshold: float, row: dict[str, Any], value_holds: bool) -> str:
    """Why a gate failed: by its value, or only by the bound of its interval."""
    value, low, high = _signed(row, rule.sign)
    pictures = row.get("pictures")
    if rule.metric == "copied" and pictures:
        copies = round(value * pictures)
        found = f"{copies} of {counted(pictures, 'picture')} {'is a copy' if copies == 1 else 'are copies'}"
        most = "" if bound == "value" else f", at most {_percent(high)} by the interval"
        start = rule.finding if copies and not value_holds else UNSURE[name]
        return f"{start}: {found}{most}, {_percent(threshold)} allowed"
    if bound in ("value", "size") or not value_holds:
        return rule.finding if value or rule.metric != "copied" else UNSURE[name]
    end = low if bound == "low" else high
    return f"{UNSURE[name]}: {value:.4g}, by the interval {'from' if bound == 'low' else 'up to'} {end:.4g}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _gates(number: int) -> str:
    return counted(number, "gate")


def _are(number: int) -> str:
    return f"{counted(number, 'gate')} {'is' if number == 1 else 'are'}"


def _signed(row: dict[str, Any], sign: int) -> tuple[float, float, float]:
    value, low, high = (float(row[name]) for name in ("value", "low", "high"))
    return (value, low, high) if sign > 0 else (-value, -high, -low)
