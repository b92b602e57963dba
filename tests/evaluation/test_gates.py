from typing import Any

import pytest

from pipeline.evaluation.gates import RULES, judge_gates, overall
from pipeline.params import Gates

LIMITS = Gates(**dict.fromkeys(RULES, 0.5))


def evaluation(value: float, **others: float) -> dict[str, Any]:
    """Every figure at `value` plus or minus 0.1."""
    rows = [
        {"metric": rule.metric, "model": rule.model, "group": "all", "value": at, "low": at - 0.1, "high": at + 0.1}
        for name, rule in RULES.items()
        for at in [others.get(name, value * rule.sign)]
    ]
    return {"metrics": rows, "missing": {}}


def verdicts(found: dict[str, Any], limits: Gates = LIMITS, by_value: bool = False) -> dict[str, str]:
    return {gate["gate"]: gate["verdict"] for gate in judge_gates(found, limits, by_value)}


@pytest.mark.parametrize("name", RULES)
def test_each_gate_falls_to_its_own_side_of_its_bound(name: str) -> None:
    rule = RULES[name]
    width = {"low": 0.1, "high": -0.1}.get(rule.bound, 0.0)  # the figure at which the bound meets the threshold
    outward = 0.01 if not rule.most else -0.01
    inside, outside = 0.5 + width + outward, 0.5 + width - outward
    assert verdicts(evaluation(inside))[name] == "passed"
    assert verdicts(evaluation(outside))[name] == "failed"
    if rule.bound != "size":
        assert verdicts(evaluation(0.5 + outward), by_value=True)[name] == "passed"


def test_the_size_of_a_difference_counts_whatever_its_sign() -> None:
    assert verdicts(evaluation(0.5, name_forms=-0.6))["name_forms"] == "failed"
    assert verdicts(evaluation(0.5, name_forms=-0.4))["name_forms"] == "passed"


def test_what_was_not_measured_never_passes() -> None:
    found = evaluation(0.5)
    found["metrics"] = [row for row in found["metrics"] if row["metric"] != "copied"]
    found["missing"]["copied"] = "no copy detector"
    (gate,) = (gate for gate in judge_gates(found, LIMITS) if gate["gate"] == "copies")
    assert (gate["verdict"], gate["reason"], gate["value"]) == ("missing", "no copy detector", None)
    good = [gate | {"verdict": "passed"} for gate in judge_gates(evaluation(0.5), LIMITS) if gate["gate"] != "copies"]
    verdict = overall([*good, gate])
    assert not verdict["promotable"]
    assert "copies could not be measured" in verdict["sentence"]
    off = judge_gates(found, LIMITS.model_copy(update={"copies": None}))
    assert {gate["gate"]: gate["verdict"] for gate in off}["copies"] == "off"
    assert overall([*good, *(gate for gate in off if gate["gate"] == "copies")])["promotable"]


def test_the_verdict_is_one_sentence_with_its_reasons() -> None:
    gates = [gate | {"verdict": "passed"} for gate in judge_gates(evaluation(0.5), LIMITS)]
    assert overall(gates) == {"promotable": True, "failures": [], "sentence": "Fit for promotion: all 13 gates passed."}
    for gate in gates:
        if gate["gate"] in ("copies", "style"):
            gate["verdict"] = "failed"
    found = overall(gates)
    assert found["sentence"] == (
        "Not to be promoted: it repeats training photos and it does not draw in the style asked for "
        "(2 of 13 gates failed)."
    )
    assert found["failures"] == ["memorisation", "style mixing"]
    assert not overall([gate | {"verdict": "off"} for gate in gates])["promotable"]
