"""Thresholds between good and faulty checkpoints."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.commands.calibrate import calibrate as command
from pipeline.evaluation.calibration import NotCalibrated, calibrate, check
from pipeline.evaluation.gates import RULES
from pipeline.files import write_json
from pipeline.params import Gates, load_params
from pipeline.runs.profiles import find_profile

GATES = Gates(**dict.fromkeys(RULES) | {"likeness": 0.3, "copies": 0.05, "success": 0.7, "name_forms": 0.1})


def evaluation(likeness: float, copied: float, success: float, forms: float = 0.02, **changes: Any) -> dict[str, Any]:
    """Every figure with an interval of 0.1 around it."""
    found = {"likeness": likeness, "copied": copied, "success": success, "name_forms": forms}
    rows = [
        {"metric": name, "model": "tuned", "group": "all", "value": value, "low": value - 0.05, "high": value + 0.05,
         "prompts": 10, "pictures": 40}
        for name, value in found.items()
    ]  # fmt: skip
    judged = {"digest": "d"}
    base = {"suite": {"digest": "s", "seeds": [1]}, "draw": {}, "size": [512, 512], "scorer": judged}
    base |= {"identity_encoder": judged, "copy_detector": judged, "heldout": "h", "missing": {}, "metrics": rows}
    return {**base, "gates": [], "verdict": {}, "pictures": [], **changes}


GOOD = evaluation(0.6, 0.0, 0.9), evaluation(0.5, 0.01, 0.8)
FAULTY = {"base": evaluation(0.0, 0.0, 0.1), "memorised": evaluation(0.7, 0.61, 0.85, heldout="other")}


def test_a_threshold_is_half_way_between_the_worst_good_and_the_worst_faulty_one() -> None:
    rows = {row.gate: row for row in calibrate(GOOD, FAULTY, GATES)}
    likeness, copies, success, forms = (rows[name] for name in ("likeness", "copies", "success", "name_forms"))
    assert (likeness.outcome, likeness.by) == ("set", "base")
    assert likeness.after == pytest.approx((0.45 - 0.05) / 2)  # the gate counts the lower bound
    assert (copies.outcome, copies.by) == ("set", "memorised")
    assert copies.after == pytest.approx((0.06 + 0.66) / 2)  # the upper bound
    assert success.after == pytest.approx(0.45)
    assert (forms.outcome, forms.after) == ("kept", 0.1)
    assert rows["style"].outcome == "off" and rows["style"].after is None
    found = check(list(rows.values()), {"one": GOOD[0], "two": GOOD[1]}, FAULTY)
    assert found == {"one": [], "two": [], "base": ["likeness", "success"], "memorised": ["copies"]}


def test_a_gate_that_fails_a_good_one_and_finds_no_fault_is_loosened_to_it() -> None:
    forms = evaluation(0.6, 0.0, 0.9, 0.2345)
    rows = calibrate([forms], FAULTY, GATES)
    row = next(row for row in rows if row.gate == "name_forms")
    assert (row.outcome, row.after) == ("loosened", 0.235)
    assert check(rows, {"good": forms}, {}) == {"good": []}


def test_a_threshold_beyond_what_a_gate_takes_is_the_nearest_that_it_takes_and_is_told() -> None:
    def styled(value: float) -> dict[str, Any]:
        found = evaluation(0.6, 0.0, 0.9)
        line = {**found["metrics"][0], "metric": "style", "model": "ratio", "group": "style", "value": value}
        return {**found, "metrics": [*found["metrics"], line]}

    gates = GATES.model_copy(update={"style": 0.9})
    rows = calibrate([styled(3.0)], {"grey": styled(1.4)}, gates)
    style = next(row for row in rows if row.gate == "style")
    assert (style.outcome, style.after, style.beyond) == ("set", 2.0, 2.2)
    assert style.clipped == "style: the checkpoints ask for a threshold of 2.2; gates take -1 to 2, so it is 2"
    assert check(rows, {"good": styled(3.0)}, {"grey": styled(1.4)}) == {"good": [], "grey": ["style"]}
    assert [row.gate for row in rows if row.clipped] == ["style"]


@pytest.mark.parametrize(
    ("good", "faulty", "outcome", "after"),
    [(-0.3, 0.4, "set", 0.2), (-0.3, -0.1, "kept", 0.15), (0.2, -0.1, "loosened", 0.2)],
)
def test_wordings_that_differ_less_than_seeds_make_no_threshold_below_zero(
    good: float, faulty: float, outcome: str, after: float
) -> None:
    def worded(value: float) -> dict[str, Any]:
        found = evaluation(0.6, 0.0, 0.9)
        return {**found, "metrics": [*found["metrics"], {**found["metrics"][0], "metric": "wording", "value": value}]}

    gates = GATES.model_copy(update={"wording": 0.15})
    row = next(row for row in calibrate([worded(good)], {"one": worded(faulty)}, gates) if row.gate == "wording")
    assert (row.outcome, row.after) == (outcome, pytest.approx(after))


def test_what_was_judged_in_another_way_is_refused() -> None:
    with pytest.raises(NotCalibrated, match="memorised was judged in another way than good 1: another suite"):
        calibrate(GOOD, {"memorised": evaluation(0.1, 0.0, 0.0, suite={"digest": "x", "seeds": [1]})}, GATES)
    with pytest.raises(NotCalibrated, match="at least one good and one faulty"):
        calibrate(GOOD, {}, GATES)


RULED = {
    "settings": {"success_way": 0.5, "success_fidelity": 0.7, "bootstrap": 1000, "seed": 1},
    "perceptual": {"digest": "d"},
}


@pytest.mark.parametrize(
    ("changes", "title"),
    [
        ({"settings": {**RULED["settings"], "success_way": None}}, r"evaluate\.success_way \(None, not 0\.5\)"),
        ({"settings": {**RULED["settings"], "success_fidelity": 0.6}}, r"evaluate\.success_fidelity"),
        ({"settings": {**RULED["settings"], "bootstrap": 200}}, r"evaluate\.bootstrap \(200, not 1000\)"),
        ({"perceptual": {"digest": "e"}}, "LPIPS"),
        ({"perceptual": None}, "LPIPS"),
    ],
)
def test_what_was_judged_by_another_rule_is_refused(changes: dict[str, Any], title: str) -> None:
    good, faulty = evaluation(0.6, 0.0, 0.9, **RULED), evaluation(0.0, 0.0, 0.1, **RULED)
    assert calibrate([good, good], {"base": faulty}, GATES)
    with pytest.raises(NotCalibrated, match=f"base was judged in another way than good 1: another {title}"):
        calibrate([good], {"base": {**faulty, **changes}}, GATES)
    with pytest.raises(NotCalibrated, match="good 2 was judged in another way"):
        calibrate([good, {**good, **changes}], {"base": faulty}, GATES)


def test_a_checkpoint_planted_on_fewer_photos_has_their_captions_in_its_suite() -> None:
    shared = {"id": "p01", "kind": "subject", "text": "a photo of mysks"}
    own = [{"id": "c01", "kind": "caption", "text": text} for text in ("mysks on a table", "mysks on a chair")]
    suites = [{"digest": caption["text"], "seeds": [1], "styles": {}, "prompts": [shared, caption]} for caption in own]
    rows = calibrate(
        [evaluation(0.6, 0.0, 0.9, suite=suites[0])], {"memorised": evaluation(0.7, 0.61, 0.85, suite=suites[1])}, GATES
    )
    assert {row.gate: row.outcome for row in rows}["copies"] == "set"


def test_the_command_writes_thresholds_and_keeps_comments(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    text = find_profile("thesis").path.read_text()
    (tmp_path / "params.yaml").write_text(text)
    write_json(tmp_path / "good.json", GOOD[0])
    write_json(tmp_path / "base.json", FAULTY["base"])
    command(good=["good.json"], faulty=["base.json"])
    assert (tmp_path / "params.yaml").read_text() == text
    command(good=["good.json"], faulty=["base.json"], write=True)
    assert "base.json: fails likeness" in capsys.readouterr().out
    after = (tmp_path / "params.yaml").read_text()
    assert load_params(tmp_path / "params.yaml").gates.likeness == pytest.approx((0.55 - 0.05) / 2)
    assert [line.partition("#")[2] for line in after.splitlines()] == [
        line.partition("#")[2] for line in text.splitlines()
    ]
    assert {**yaml.safe_load(after), "gates": None} == {**yaml.safe_load(text), "gates": None}


def test_a_checkpoint_of_one_prompt_gives_no_bound_that_a_threshold_could_be_set_by() -> None:
    thin = evaluation(0.6, 0.0, 0.9)
    thin["metrics"] = [row | {"prompts": 1, "low": row["value"], "high": row["value"]} for row in thin["metrics"]]
    rows = {row.gate: row for row in calibrate([thin], FAULTY, GATES)}
    assert (rows["likeness"].outcome, rows["likeness"].after, rows["likeness"].good) == ("not measured", 0.3, None)
    assert rows["success"].outcome == "set"  # counted by its value
    rows = {row.gate: row for row in calibrate(GOOD, {"thin": thin}, GATES)}
    assert (rows["likeness"].outcome, rows["likeness"].faulty) == ("kept", None)


def test_checkpoints_judged_by_photos_that_were_prepared_in_two_ways_calibrate_nothing() -> None:
    def cut(digit: str, **changes: Any) -> dict[str, Any]:
        return evaluation(0.6, 0.0, 0.9, photos={"heldout": {"prepared": digit}}, **changes)

    with pytest.raises(NotCalibrated, match="another held-out photos as they were prepared"):
        calibrate([cut("c")], {"base": cut("p")}, GATES)
    assert calibrate([cut("c")], {"base": cut("c")}, GATES)
    assert calibrate([cut("c")], {"memorised": cut("p", heldout="other")}, GATES)  # planted on fewer photos
