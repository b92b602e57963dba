"""The profiles for real bases, run on models of their architectures that are tiny and have random weights."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.evaluation.reasons import NO_WAY
from pipeline.files import read_json
from pipeline.runs.profiles import find_profile
from tests import tiny
from tests.stages.test_chain import run

FEW = {"steps": 1, "precision": "fp32", "batch": 8}


@pytest.fixture(scope="session")
def tiny_dino(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DINOv2 with random weights. Read only."""
    return tiny.make_dino(tmp_path_factory.mktemp("dino") / "dino")


def small(profile: str, base: Path, scorer: Path, dino: Path) -> dict[str, Any]:
    """A profile with the tiny models in the places of those on the hub, in few steps; judges and gates stay."""
    values: dict[str, Any] = yaml.safe_load(find_profile(profile).path.read_text())
    assert values["evaluate"]["identity"] == "facebook/dinov2-base"
    values["base"] |= {"model": str(base), "revision": None}
    values["evaluate"] |= {"scorer": str(scorer), "revision": None, "identity": str(dino), "identity_revision": None}
    values["evaluate"]["bootstrap"] = 50
    values["prepare"] |= {"size": 32, "min_side": 32, "heldout": 1}
    values["prior"]["images"] = 1
    values["train"] |= {"steps": 2, "batch": 1, "save_every": 2, "checkpoint_every": 2, "validate_every": 0}
    values["preview"]["every"] = 0
    values["select"]["seeds"], values["sample"]["seeds"] = [31, 32], [11, 12]
    for section in ("prior", "select", "sample"):
        values[section]["draw"] |= FEW
    return values


@pytest.mark.parametrize("profile", ["thesis"])
def test_every_gate_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_base: Path, tiny_scorer: Path, tiny_dino: Path, profile: str
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny.make_photos(tmp_path / "data", 5)
    values = small(profile, tiny_base, tiny_scorer, tiny_dino)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    run(tmp_path, "prepare", "prior", "train", "select", "tune", "sample", "evaluate")
    evaluation = read_json(tmp_path / "reports" / "evaluation.json")
    on = {name for name, threshold in values["gates"].items() if threshold is not None}
    verdicts = {gate["gate"]: gate["verdict"] for gate in evaluation["gates"]}
    measured = {name for name, verdict in verdicts.items() if verdict in ("passed", "failed")}
    if evaluation["missing"].get("likeness") == NO_WAY:  # random weights see the subject in anything
        measured.add("likeness")
    style = next(gate for gate in evaluation["gates"] if gate["gate"] == "style")
    if "compared with the base's figure, which is 0" in str(style.get("reason")):  # and draw hardly any style
        measured.add("style")
    assert measured == on
    assert set(verdicts) - on == {"wording", "complex", "control", "control_cost"}  # nothing is drawn for them
    assert len(on) >= 13
