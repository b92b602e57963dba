"""What counts as evidence for a promotion: figures judged again, a floor for the gates, the model that was judged."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.evaluation.promotion_floor import (
    LEAST_DRAWS,
    LEAST_PROMPTS,
    LEAST_SEEDS,
    SEEN,
    evidence_objections,
    final_verdict,
    loosened,
)
from pipeline.evaluation.suite import load_suite
from pipeline.params import load_params
from tests.evaluation.figures import passing

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = [ROOT / "params.yaml", *sorted((ROOT / "profiles").glob("*.yaml"))]
DIGEST = "d" * 64


def sound(path: Path = SHIPPED[0]) -> dict[str, Any]:
    """An evaluation in which every gate of a shipped params.yaml passes, as its suite and seeds would give it."""
    params = load_params(path)
    suite = load_suite(params.sample.suite, params.subject, ["a photo of mysks plush toy"])
    evaluation: dict[str, Any] = {
        "model": {"content_digest": DIGEST},
        "pictures": [
            {"model": "tuned", "kind": prompt.kind, "prompt_id": number, "seed": seed}
            for number, prompt in enumerate(suite.prompts)
            for seed in params.sample.seeds
        ],
    }
    return passing(evaluation, params.gates)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_the_shipped_parameters_lie_above_the_floor(path: Path) -> None:
    evaluation = sound(path)
    evaluation["settings"] = load_params(path).evaluate.model_dump()
    assert evidence_objections(evaluation, DIGEST) == []


def test_an_evaluation_that_keeps_no_settings_is_read_as_before() -> None:
    evaluation = sound()
    del evaluation["settings"]
    assert evidence_objections(evaluation, DIGEST) == []


def _gate(evaluation: dict[str, Any], name: str) -> dict[str, Any]:
    return next(row for row in evaluation["gates"] if row["gate"] == name)


def _metric(evaluation: dict[str, Any], name: str) -> dict[str, Any]:
    return next(row for row in evaluation["metrics"] if row["metric"] == name)


def _fewer_prompts(evaluation: dict[str, Any]) -> None:
    kept = sorted({row["prompt_id"] for row in evaluation["pictures"] if row["kind"] == "subject"})[: LEAST_PROMPTS - 1]
    evaluation["pictures"] = [row for row in evaluation["pictures"] if row["prompt_id"] in kept]


def _fewer_seeds(evaluation: dict[str, Any]) -> None:
    seeds = sorted({row["seed"] for row in evaluation["pictures"]})[: LEAST_SEEDS - 1]
    evaluation["pictures"] = [row for row in evaluation["pictures"] if row["seed"] in seeds]


def _fewer_draws(evaluation: dict[str, Any]) -> None:
    evaluation["settings"]["bootstrap"] = LEAST_DRAWS - 1


def _worse_figure(evaluation: dict[str, Any]) -> None:
    _metric(evaluation, "success")["value"] = 0.1


def _set(gate: str, threshold: float | None) -> Callable[[dict[str, Any]], None]:
    def change(evaluation: dict[str, Any]) -> None:
        _gate(evaluation, gate)["threshold"] = threshold
        _gate(evaluation, gate)["verdict"] = "off" if threshold is None else "passed"

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda e: e.pop("model"), "does not say which model it judged"),
        (lambda e: e["model"].update(content_digest="e" * 64), "judged content eeee"),
        (_fewer_prompts, f"at least {LEAST_PROMPTS} are needed"),
        (_fewer_seeds, f"at least {LEAST_SEEDS} are needed"),
        (_fewer_draws, f"from {LEAST_DRAWS - 1} draws, at least {LEAST_DRAWS} are needed"),
        (lambda e: e["settings"].update(bootstrap=1), "from 1 draw, at least"),
        (_worse_figure, "its own figures say failed"),
        (lambda e: e["metrics"].remove(_metric(e, "copied")), "its own figures say missing"),
        (_set("copies", None), "gate copies is off"),
        (_set("likeness", -2.0), "the loosest that counts"),
        (_set("copies", 1.0), "the loosest that counts"),
        (_set("success", float("nan")), "cannot be judged again"),
    ],
)
def test_what_undercuts_the_floor_or_was_changed_is_named(change: Callable[[dict[str, Any]], Any], words: str) -> None:
    evaluation = copy.deepcopy(sound())
    change(evaluation)
    assert any(words in line for line in evidence_objections(evaluation, DIGEST))


def _line(name: str, value: float | None) -> Callable[[dict[str, Any]], None]:
    return lambda evaluation: evaluation["settings"].update({name: value})


@pytest.mark.parametrize(
    ("name", "loose", "enough"),
    [("copies_above", 1.0, 0.95), ("success_way", 0.0, 0.2), ("success_fidelity", 0.0, 0.5)],
)
def test_a_line_of_evaluate_that_lets_everything_pass_is_below_the_floor(
    name: str, loose: float, enough: float
) -> None:
    evaluation = sound()
    for value in (enough, None):  # null: the photos draw the line
        _line(name, value)(evaluation)
        assert evidence_objections(evaluation, DIGEST) == [] and final_verdict(evaluation)["promotable"]
    _line(name, loose)(evaluation)
    assert evidence_objections(evaluation, DIGEST) == [
        f"evaluate.{name} is {loose:g}; {enough:g} is the loosest that counts"
    ]
    assert not final_verdict(evaluation)["promotable"]


def test_a_line_of_evaluate_that_was_loosened_against_the_champion_is_named() -> None:
    held, new = sound(), sound()
    held["settings"] |= {"copies_above": 0.85, "success_way": 0.5, "success_fidelity": 0.7}
    new["settings"] |= {"copies_above": 0.9, "success_way": 0.4, "success_fidelity": 0.8}
    assert loosened(new, held) == [
        "evaluate.copies_above was loosened from 0.85 to 0.9",
        "evaluate.success_way was loosened from 0.5 to 0.4",
    ]
    assert loosened(held, new) == ["evaluate.success_fidelity was loosened from 0.8 to 0.7"]
    del held["settings"]
    assert loosened(new, held) == []


@pytest.mark.parametrize(("before", "now"), [(0.5, None), (None, 0.5)])
def test_between_a_number_and_a_line_that_the_photos_draw_the_lines_themselves_are_compared(
    before: float | None, now: float | None
) -> None:
    held, new = sound(), sound()
    held["settings"]["success_way"], new["settings"]["success_way"] = before, now
    changed = "evaluate.success_way was changed from " + ("0.5 to null" if now is None else "null to 0.5")
    assert loosened(new, held) == [f"{changed}: whether more passes by it is not on record"]
    held["thresholds"], new["thresholds"] = {"identity": 0.71}, {"identity": 0.62}
    assert loosened(new, held) == [f"{changed}, which loosened its line from 0.71 to 0.62"]
    held["thresholds"], new["thresholds"] = new["thresholds"], held["thresholds"]
    assert loosened(new, held) == []
    held["settings"] |= {"success_way": None, "copies_above": 0.9}
    new["settings"] |= {"success_way": None, "copies_above": None}
    held["real_photos"], new["real_photos"] = {"copy_level": 0.9}, {"copy_level": 0.93}
    assert loosened(new, held) == [
        "evaluate.copies_above was changed from 0.9 to null, which loosened its line from 0.9 to 0.93"
    ]


def test_a_gate_that_was_switched_off_is_named_and_one_that_was_switched_on_is_not() -> None:
    on, off = ({"gates": [{"gate": "diversity", "threshold": limit}]} for limit in (0.8, None))
    assert loosened(off, on) == ["gate diversity is off, but was on (0.8)"]
    assert loosened({"gates": []}, on) == ["gate diversity is off, but was on (0.8)"]
    assert loosened(on, off) == []


@pytest.mark.parametrize(
    "change", [_fewer_prompts, _fewer_seeds, _fewer_draws, _set("copies", None), _set("success", 0.1)]
)
def test_the_verdict_of_evaluate_holds_to_the_same_floor(change: Callable[[dict[str, Any]], Any]) -> None:
    evaluation = sound()
    change(evaluation)
    verdict = final_verdict(evaluation)
    assert not verdict["promotable"]
    assert verdict["sentence"].startswith("Not to be promoted: ")


@pytest.mark.parametrize("fit", [True, False])
def test_the_verdict_says_where_likeness_was_judged_on_photos_that_were_trained_on(fit: bool) -> None:
    evaluation = sound()
    if not fit:
        _fewer_seeds(evaluation)
    assert SEEN not in final_verdict(evaluation)["sentence"]
    evaluation["missing"] = {"identity_heldout": "no photo was held out (prepare.heldout is 0)"}
    verdict = final_verdict(evaluation)
    assert verdict["sentence"].endswith(f". {SEEN}") and verdict["promotable"] == fit
    _set("likeness", None)(evaluation)
    assert SEEN not in final_verdict(evaluation)["sentence"]


def test_every_gate_off_is_no_evidence() -> None:
    evaluation = sound()
    for row in evaluation["gates"]:
        row.update(threshold=None, verdict="off")
    evaluation["verdict"] = {"promotable": True}
    assert sum("is off" in line for line in evidence_objections(evaluation, DIGEST)) == 5


def test_what_is_off_or_loosened_against_the_champion_is_named() -> None:
    def judged(**limits: float | None) -> dict[str, Any]:
        return {"gates": [{"gate": gate, "threshold": limit} for gate, limit in limits.items()]}

    held = judged(likeness=0.65, copies=0.05, style=0.9, diversity=None)
    assert loosened(judged(likeness=0.7, copies=0.05, style=0.9, diversity=None), held) == []
    assert loosened(judged(likeness=0.6, copies=0.06, style=None), held) == [
        "gate likeness was loosened from 0.65 to 0.6",
        "gate copies was loosened from 0.05 to 0.06",
        "gate style is off, but was on (0.9)",
    ]
