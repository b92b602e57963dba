from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.gates import RULES, judge_gates, overall
from pipeline.evaluation.reasons import NO_WIDTH
from pipeline.evaluation.remedies import remedy
from pipeline.evaluation.statistics import wilson
from pipeline.params import Gates

LIMITS = Gates(**dict.fromkeys(RULES, 0.5))


def evaluation(value: float, **others: float) -> dict[str, Any]:
    """Every figure at `value` plus or minus 0.1."""
    rows = [
        {
            "metric": rule.metric,
            "model": rule.model,
            "group": rule.group or "all",
            "value": at,
            "low": at - 0.1,
            "high": at + 0.1,
        }
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


@pytest.mark.parametrize("name", [name for name, rule in RULES.items() if rule.model == "ratio"])
def test_a_ratio_to_a_base_that_shows_nothing_says_so(name: str) -> None:
    found = evaluation(0.5)
    for row in found["metrics"]:
        if row["metric"] == RULES[name].metric:
            row |= {"model": "base", "value": 0.0}
    (gate,) = (gate for gate in judge_gates(found, LIMITS) if gate["gate"] == name)
    assert (gate["verdict"], gate["value"]) == ("missing", None)
    assert gate["reason"] == "it is compared with the base's figure, which is 0, or may be"


def test_the_verdict_is_one_sentence_with_its_reasons() -> None:
    gates = [gate | {"verdict": "passed"} for gate in judge_gates(evaluation(0.5), LIMITS)]
    assert overall(gates) == {"promotable": True, "failures": [], "sentence": "Fit for promotion: all 18 gates passed."}
    for gate in gates:
        if gate["gate"] in ("copies", "style"):
            gate |= {"verdict": "failed", "reason": RULES[gate["gate"]].finding}
    found = overall(gates)
    assert found["sentence"] == (
        "Not to be promoted: it repeats training photos; it draws the style asked for too seldom, compared with the "
        "base (2 of 18 gates failed)."
    )
    assert found["failures"] == ["memorisation", "style mixing"]
    assert not overall([gate | {"verdict": "off"} for gate in gates])["promotable"]


def copies(hits: int, pictures: int, limit: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """The gate and the verdict of a model of whose pictures so many are copies, all other gates off."""
    low, high = wilson(hits, pictures)
    row = {"metric": "copied", "model": "tuned", "group": "all", "value": hits / pictures, "low": low, "high": high}
    found = {"metrics": [row | {"prompts": pictures, "pictures": pictures}], "missing": {}}
    gates = judge_gates(found, Gates(**{**dict.fromkeys(RULES), "copies": limit}))
    return next(gate for gate in gates if gate["gate"] == "copies"), overall(gates)


def test_no_copy_among_few_pictures_is_no_accusation() -> None:
    gate, verdict = copies(0, 12, 0.05)
    assert gate["reason"] == (
        "too few pictures to rule out copies: 0 of 12 pictures are copies, at most 24.2 % by the interval, 5 % allowed"
    )
    assert (
        verdict["sentence"]
        == f"Not to be promoted: {gate['reason']} (1 of 1 gate failed and 17 gates are switched off)."
    )
    assert copies(0, 200, 0.05)[1]["sentence"] == (
        "Fit for promotion: the only gate that is on passed; 17 gates are switched off."
    )


@given(st.integers(1, 400), st.floats(0, 1), st.floats(-0.5, 1.5))
def test_copies_are_claimed_only_where_more_were_seen_than_allowed(pictures: int, share: float, limit: float) -> None:
    hits = round(share * pictures)
    gate, verdict = copies(hits, pictures, limit)
    assert ("repeats" in verdict["sentence"]) == (hits > 0 and hits / pictures > limit)
    if gate["verdict"] == "failed":
        assert f"{hits} of {pictures} picture" in gate["reason"]
    assert verdict["promotable"] == verdict["sentence"].startswith("Fit")


@given(st.dictionaries(st.sampled_from(sorted(RULES)), st.sampled_from(["passed", "failed", "missing"])))
def test_a_verdict_counts_what_is_on_and_names_what_is_missing(known: dict[str, str]) -> None:
    gates = [{"gate": n, "failure": r.failure, "verdict": known.get(n, "off"), "reason": ""} for n, r in RULES.items()]
    found = overall(gates)
    sentence = found["sentence"]
    assert found["promotable"] == (set(known.values()) == {"passed"})
    assert sentence.startswith("Fit for promotion") == found["promotable"]
    if len(known) < len(RULES):
        assert "switched off" in sentence and "all 1" not in sentence
    for name, verdict in known.items():
        if verdict == "missing":
            assert name in sentence
        if verdict == "failed":
            assert RULES[name].finding in sentence


def test_training_captions_are_judged_apart_and_their_lack_never_passes() -> None:
    found = evaluation(0.5, copies=0.2, caption_copies=0.75)
    assert verdicts(found)["copies"] == "passed"
    assert verdicts(found)["caption_copies"] == "failed"
    found["metrics"] = [row for row in found["metrics"] if row["group"] == "all"]
    gates = {gate["gate"]: gate for gate in judge_gates(found, LIMITS)}
    assert gates["caption_copies"]["verdict"] == "missing"
    assert gates["caption_copies"]["reason"] == "the suite draws no training captions"


def test_objections_keep_a_model_from_promotion_whatever_its_gates_say() -> None:
    gates = [gate | {"verdict": "passed"} for gate in judge_gates(evaluation(0.5), LIMITS)]
    found = overall(gates, ["it was judged on 8 prompts of the subject, at least 10 are needed"])
    assert found == {
        "promotable": False,
        "failures": [],
        "sentence": "Not to be promoted: it was judged on 8 prompts of the subject, at least 10 are needed.",
    }


def test_a_bound_over_one_prompt_is_no_measurement() -> None:
    found = evaluation(0.9)
    for row in found["metrics"]:
        row["prompts"] = 1
    judged = {gate["gate"]: gate for gate in judge_gates(found, LIMITS)}
    assert judged["likeness"]["verdict"] == "missing"
    assert "at least 2 prompts, found 1" in judged["likeness"]["reason"]
    assert judged["success"]["verdict"] == "passed"


@pytest.mark.parametrize("name", ["likeness", "class_likeness"])
def test_a_gate_that_fails_by_its_bound_alone_says_so(name: str) -> None:
    rule = RULES[name]
    gates = {gate["gate"]: gate for gate in judge_gates(evaluation(0.45 if rule.most else 0.55), LIMITS)}
    assert gates[name]["reason"].startswith("too few pictures to") and "by the interval" in gates[name]["reason"]
    gates = {gate["gate"]: gate for gate in judge_gates(evaluation(0.7 if rule.most else 0.3), LIMITS)}
    assert gates[name]["reason"] == rule.finding


@pytest.mark.parametrize("limits", [LIMITS, Gates(**dict.fromkeys(RULES))], ids=["on", "off"])
def test_a_gate_shows_bounds_only_where_its_figure_has_an_interval(limits: Gates) -> None:
    found = evaluation(0.5)
    found["metrics"] = [row | {"prompts": 1, "pictures": 2} for row in found["metrics"]]
    for gate in judge_gates(found, limits):
        assert gate["value"] is not None
        own = gate["metric"] in ("copied", "worst_success")  # these have intervals of their own
        assert (gate["low"] is None, gate["high"] is None) == (not own, not own), gate["gate"]


@pytest.mark.parametrize("name", ["likeness", "copies", "class_likeness"])
def test_a_gate_that_counts_a_bound_is_missing_where_no_draw_differs_from_another(name: str) -> None:
    found = evaluation(0.5)
    found["metrics"] = [row | {"low": row["value"], "high": row["value"], "prompts": 12} for row in found["metrics"]]
    gate = next(gate for gate in judge_gates(found, LIMITS) if gate["gate"] == name)
    assert (gate["verdict"], gate["reason"], gate["low"]) == ("missing", NO_WIDTH, None)
    assert "all scores are alike" in remedy(name, gate["reason"])
