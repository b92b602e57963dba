"""Figures made up for an evaluation, where random weights give none that pass."""

from typing import Any

from pipeline.evaluation.gates import RULES, judge_gates
from pipeline.evaluation.promotion_floor import LEAST_DRAWS, final_verdict
from pipeline.params import Gates


def passing(evaluation: dict[str, Any], gates: Gates) -> dict[str, Any]:
    """An evaluation of the same model and pictures in which what each gate counts lies on its threshold."""
    limits = gates.model_dump()
    metrics = []
    for name, rule in RULES.items():
        value = (limits[name] if limits[name] is not None else 0.5) * rule.sign
        low, high = (value if rule.bound == bound else value + away for bound, away in (("low", -0.1), ("high", 0.1)))
        place = {"metric": rule.metric, "model": rule.model, "group": rule.group or "all"}
        metrics.append({**place, "value": value, "low": low, "high": high})
    settings = {**evaluation.get("settings", {}), "bootstrap": LEAST_DRAWS}
    found = {**evaluation, "metrics": metrics, "missing": {}, "settings": settings}
    found["gates"] = judge_gates(found, gates)
    found["verdict"] = final_verdict(found)
    assert found["verdict"]["promotable"], found["verdict"]
    return found
