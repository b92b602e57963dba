"""`dreamtrace run`: what can be seen to go wrong is told at once and once; a failed stage's own words are enough."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.commands import run as run_module
from pipeline.commands.errors import CommandError
from pipeline.commands.run import refuse_isolated
from pipeline.layout import PREPARED, REGISTRATION
from pipeline.params import Params, parse_params
from pipeline.runs.choices import Choices
from pipeline.runs.workspaces import RUNS, open_workspace
from tests.commands.test_app import dreamtrace
from tests.flows.team import make_team
from tests.workspace import tiny_values

ROOT = Path(__file__).resolve().parents[2]


def test_the_demo_trains_the_sample_and_nothing_else(project, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    workspace, ran = project(), []
    monkeypatch.setattr("pipeline.commands.run._run_here", ran.append)
    thesis, sample = (yaml.safe_load((ROOT / "profiles" / f"{name}.yaml").read_text()) for name in ("thesis", "pocket"))
    other, beast = (
        {**sample, "subject": {**sample["subject"], **change}} for change in ({"token": "gtwlb"}, {"animal": None})
    )
    for values, key in ((thesis, "base.model"), (other, "subject.token"), (beast, "subject.animal is null")):
        (workspace / "params.yaml").write_text(yaml.safe_dump(values))
        assert dreamtrace(monkeypatch, "demo") == 1
        said = capsys.readouterr().err
        assert f"{values['train']['steps']} steps" in said and "`dreamtrace run`" in said and key in said
    assert not ran
    sample["train"]["steps"] = 7  # a change of one's own is none of the subject or base
    (workspace / "params.yaml").write_text(yaml.safe_dump(sample))
    assert dreamtrace(monkeypatch, "demo") == 0
    assert ran == [Path()]


def test_a_run_names_withdrawn_inputs_as_the_check_does_before_anything_starts(
    project, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    workspace, order = project(), []
    told = ["data/a.jpg was withdrawn: leave it out"]
    monkeypatch.setattr("pipeline.runs.withdrawn_inputs.withdrawn_inputs", lambda *_: told)
    monkeypatch.setattr("pipeline.runs.dvc.fetch_data", lambda _: None)
    monkeypatch.setattr("pipeline.commands.run.refuse_mistakes", lambda _: None)
    monkeypatch.setattr("pipeline.commands.run.prepare_servers", lambda _: order.append(capsys.readouterr().err))
    monkeypatch.setattr("pipeline.commands.run._fine_tune", lambda _: {})
    monkeypatch.setattr("pipeline.commands.run._show_result", lambda *_: None)
    run_module._run_here(workspace)
    assert order == [f"warning: {told[0]}\n"]


@pytest.mark.parametrize("goes_on", [False, True])
def test_an_isolated_run_names_withdrawn_inputs_of_where_it_is_at_work(
    project, goes_on: bool, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    workspace, asked, order = project(), [], []

    def told(registry: Path, params: Params, run: Path) -> list[str]:
        asked.append((registry, params.train.steps, run))
        return ["data/a.jpg was withdrawn: leave it out"]

    values = yaml.safe_load((workspace / "params.yaml").read_text())
    begun = workspace / RUNS / "one"
    begun.mkdir(parents=True)
    (begun / "params.yaml").write_text(yaml.safe_dump(values | {"train": values["train"] | {"steps": 11}}))
    there = parse_params(values | {"train": values["train"] | {"steps": 12}}, "there")
    monkeypatch.setattr("pipeline.runs.withdrawn_inputs.withdrawn_inputs", told)
    monkeypatch.setattr("pipeline.runs.workspaces.begun_with", lambda *_: None)
    monkeypatch.setattr("pipeline.runs.workspaces.is_unfinished", lambda _: goes_on)
    monkeypatch.setattr("pipeline.runs.workspaces.params_of", lambda *_: there)
    monkeypatch.setattr("pipeline.commands.run.refuse_isolated", lambda *_: None)
    monkeypatch.setattr("pipeline.commands.run.prepare_servers", lambda _: order.append(capsys.readouterr().err))
    monkeypatch.setattr("flows.isolated.fine_tune_isolated", lambda **_: {"model": "mysks", "version": "1"})
    run_module._run_isolated(workspace, "one", "HEAD", {})
    assert order == ["warning: data/a.jpg was withdrawn: leave it out\n"]
    assert asked == [(workspace, 11, begun) if goes_on else (workspace, 12, workspace)]


@pytest.fixture(scope="module")
def source(tiny_scorer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that isolated runs are clones of."""
    return make_team(tmp_path_factory.mktemp("team"), tiny_values(Path("pocket"), tiny_scorer))


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_HOME": str(folder / ".prefect")}
    command = [sys.executable, "-m", "pipeline.commands.app", "run", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "train.stepz=20", "--set", "nosuch.x=1"], ["no parameter 'train.stepz', 'nosuch.x' to override"]),
        (["--at", "nope", "--set", "train.stepz=2"], ["no commit, branch or tag 'nope'", "no parameter 'train.stepz'"]),
        (["--set", "train.steps=many", "--set", "prior.images=x"], ["train.steps: must be", "prior.images: must be"]),
        (["--set", "sample.suite=nosuch"], ["sample.suite: the suite 'nosuch'"]),
        (["--set", "train.steps=[1"], ["--set train.steps, line 1 is not valid YAML"]),
        (["--set", "base.model=./nowhere"], ["base.model is './nowhere', but there is no such folder"]),
    ],
)
def test_an_isolated_run_is_refused_before_there_is_one(source: Path, arguments: list[str], words: list[str]) -> None:
    done = run(source, "--isolated", "one", *arguments)
    assert done.returncode == 1 and done.stdout == ""
    for some in words:
        assert done.stderr.count(some) == 1
    assert "Traceback" not in done.stderr
    assert (
        not (source / ".prefect").exists() and not (source / ".dreamtrace" / "runs" / "one").exists()
    )  # no server, no flow run


def test_a_name_that_cannot_be_or_is_taken_is_refused_before_there_is_a_run(source: Path) -> None:
    assert "use small letters" in run(source, "--isolated", "My_Run").stderr
    (source / ".dreamtrace" / "runs" / "two").mkdir(parents=True)
    assert "exists and is of another run" in run(source, "--isolated", "two").stderr
    assert not (source / ".prefect").exists()


def test_a_run_that_goes_on_is_looked_at_where_it_goes_on(source: Path, tmp_path: Path) -> None:
    runs, asked = source / ".dreamtrace" / "runs", ("three", "HEAD", Choices())
    begun = open_workspace(source, runs, *asked)
    shutil.copytree(source / "data", begun / "data", dirs_exist_ok=True)
    (source / "data").rename(tmp_path / "data")
    (source / "data").mkdir()
    shutil.copy(tmp_path / "data" / "photo0.jpg", source / "data")  # too few, for a new run
    with pytest.raises(CommandError, match=r"prepare\.heldout"):
        refuse_isolated(source, runs, "four", *asked[1:])
    refuse_isolated(source, runs, *asked)
    (begun / PREPARED).mkdir(parents=True)
    refuse_isolated(source, runs, *asked)
    shutil.rmtree(begun / "data")
    shutil.move(source / "data", begun / "data")
    (tmp_path / "data").rename(source / "data")
    with pytest.raises(CommandError, match=r"prepare\.heldout"):
        refuse_isolated(source, runs, *asked)
    (begun / REGISTRATION).write_text("{}")  # what is left to do needs neither photos nor room
    refuse_isolated(source, runs, *asked)
