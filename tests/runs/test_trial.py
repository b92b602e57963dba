"""A few steps tell how long a training takes, and leave nothing behind."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.files import SCRATCH
from pipeline.runs import trial
from pipeline.runs.readiness import check_readiness
from tests.commands.test_app import dreamtrace


def all_below(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if ".dvc" not in path.parts and not path.name.startswith("mlflow.db")}


@pytest.mark.parametrize("changes", [{"steps": 2000}, {"method": "dreambooth-lora", "steps": 2000}, {"steps": 1}])
def test_the_time_is_that_of_the_steps_and_nothing_is_left(
    project: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict
) -> None:
    workspace = project(photos=8, prepare={"heldout": 2}, train=changes)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    before = all_below(workspace)
    usage = shutil.disk_usage
    full = type("Usage", (), {"free": 0})()  # where the steps are tried: a training would not go there
    monkeypatch.setattr("shutil.disk_usage", lambda path: full if "scratch" in Path(path).parts else usage(path))
    monkeypatch.setattr("pipeline.training.training_loop.save_checkpoint", lambda *_: pytest.fail("written"))
    found = check_readiness(workspace, lambda _: None, trial=True)
    assert found.problems == []
    steps = min(changes["steps"], trial.STEPS)
    assert re.match(rf".* for the training, by {steps} steps of it just now \(cpu\)", found.facts["time"])
    assert all_below(workspace) - before == set()
    assert list((tmp_path / "scratch").glob(f"{SCRATCH}*")) == []


def test_seconds_are_counted_from_the_start_and_step_by_step(project, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 107.0, 109.0, 110.0, *(110.5 + 0.5 * number for number in range(20))])
    project(photos=8, prepare={"heldout": 2}, train={"steps": 600})
    monkeypatch.setattr(trial, "monotonic", lambda: next(clock))
    found = check_readiness(Path(), lambda _: None, trial=True)
    assert found.facts["time"].startswith("about 5 minutes for")  # 6.5 s before the first step, half a second for each


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"base": {"model": "nobody/nothing"}}, "unknown: nothing was trained"),  # a run would stop: no trial
        ({"train": {"processes": 2}}, "unknown: steps are tried in one process"),
    ],
)
def test_where_no_step_can_be_tried_it_says_why(project, monkeypatch, changes: dict, words: str) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    project(photos=8, prepare={"heldout": 2}, **changes)
    assert words in check_readiness(Path(), lambda _: None, trial=True).facts["time"]


def test_a_temporary_folder_that_takes_nothing_stops_no_run(project, monkeypatch: pytest.MonkeyPatch) -> None:
    project(photos=8, prepare={"heldout": 2})

    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trial, "scratch_folder", full)
    found = check_readiness(Path(), lambda _: None, trial=True)
    assert found.problems == [] and found.facts["time"].startswith("unknown: no step could be tried: ")


def test_what_the_training_refuses_stops_a_run(project, monkeypatch: pytest.MonkeyPatch) -> None:
    project(photos=8, prepare={"heldout": 2})

    def refuse(*_: object) -> None:
        raise UserError("this training is impossible")

    monkeypatch.setattr(trial, "train", refuse)
    found = check_readiness(Path(), lambda _: None, trial=True)
    assert found.problems == ["this training is impossible"] and not found.as_json()["ready"]


def test_targets_that_are_no_layers_are_each_told_once(project) -> None:
    lora = {"rank": 2, "alpha": 2, "dora": False, "targets": ["nosuch", "neither"]}
    project(photos=8, prepare={"heldout": 2}, train={"method": "dreambooth-lora", "lora": lora})
    found = check_readiness(Path(), lambda _: None, trial=True)
    assert [re.findall("ends in '([a-z]+)'", problem) for problem in found.problems] == [["nosuch"], ["neither"]]


def test_check_has_the_option(project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    project(photos=8, prepare={"heldout": 2})
    assert dreamtrace(monkeypatch, "check", "--trial") == 0
    assert re.search(r"^time +less than a minute for the training, by 4 steps", capsys.readouterr().out, re.MULTILINE)
