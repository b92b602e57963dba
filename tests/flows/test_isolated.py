"""The flow in a workspace of its own: one registry, results kept in the source, a failed run left for people to see."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.logging import disable_run_logger

import flows.isolated as module
from flows.isolated import RunRefused, absolute_database, fine_tune_isolated, registry_of
from flows.stage_task import StageFailed
from pipeline.files import read_json, write_json
from pipeline.layout import REGISTRATION
from pipeline.registry.store import artifact_root, connect
from pipeline.runs.workspaces import MARK, WorkspaceError
from tests.workspace import dvc, git

pytestmark = pytest.mark.usefixtures("quick_stages")


@pytest.mark.slow
def test_a_run_leaves_its_version_and_its_experiment_with_the_source(source: Path, prefect) -> None:
    made = fine_tune_isolated(name="first", source=source, overrides={"train.seed": 5})
    assert (made["model"], made["version"]) == ("mysks", "1")
    assert not (source / "artifacts").exists()
    client = connect(source)
    run = client.get_run(made["run_id"])
    assert run.data.params["train.seed"] == "5"
    assert "first" in dvc(source, "exp", "list", "--name-only").split()
    assert "MLFLOW_TRACKING_URI" not in os.environ

    with pytest.raises(StageFailed, match="stage prepare failed"):
        fine_tune_isolated(name="second", source=source, overrides={"prepare.min_side": 5000})
    assert (source / ".dreamtrace" / "runs" / "second" / "params.yaml").is_file()
    assert len(client.search_model_versions()) == 1


def test_a_retry_of_a_finished_run_returns_what_it_registered(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, trained = ["run 1"], []

    def train(workspace: Path) -> dict[str, Any]:
        trained.append(workspace.name)
        write_json(workspace / REGISTRATION, {"model": "mysks", "version": str(len(trained))})
        return dict(read_json(workspace / REGISTRATION))

    monkeypatch.setattr(module, "flow_run", SimpleNamespace(get_root_flow_run_id=lambda: owner[0]))
    monkeypatch.setattr(module, "fetch", lambda workspace: None)
    monkeypatch.setattr(module, "check", lambda workspace: None)
    monkeypatch.setattr(module, "bring_up_to_date", train)
    monkeypatch.setattr(module, "keep", lambda one: write_json(one / MARK, {**read_json(one / MARK), "kept": True}))
    asked = {"name": "mine", "source": source, "overrides": {"train.steps": 7}}
    with disable_run_logger():
        first = fine_tune_isolated.fn(**asked)
        git(source, "commit", "-q", "--allow-empty", "-m", "work goes on between two tries")
        assert fine_tune_isolated.fn(**asked) == first == {"model": "mysks", "version": "1"}
        with pytest.raises(WorkspaceError, match="is of another run"):  # the same run asks for something else
            fine_tune_isolated.fn(**{**asked, "overrides": {"train.steps": 8}})
        owner[0] = "run 2"
        with pytest.raises(WorkspaceError, match="is of another run"):
            fine_tune_isolated.fn(**asked)
    assert trained == ["mine"]


def test_what_a_form_asks_for_is_checked_before_the_first_stage(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began: list[Path] = []
    monkeypatch.setattr(module, "flow_run", SimpleNamespace(get_root_flow_run_id=lambda: "run 1"))
    monkeypatch.setattr(module, "fetch", module.fetch.fn)
    monkeypatch.setattr(module, "check", module.check.fn)
    monkeypatch.setattr(module, "keep", lambda workspace: None)
    monkeypatch.setattr(module, "bring_up_to_date", lambda workspace: began.append(workspace) or {})
    wrong = {"sample.suite": "nowhere.yaml", "evaluate.scorer": "/nowhere/no-scorer", "prepare.heldout": 400}
    with disable_run_logger():
        with pytest.raises(RunRefused) as refused:
            fine_tune_isolated.fn(name="wrong", source=source, overrides=wrong)
        assert not began
        for words in ("has 3 problems", "nowhere.yaml", "no-scorer", "400 of"):
            assert words in str(refused.value)
        fine_tune_isolated.fn(name="right", source=source)
    assert [workspace.name for workspace in began] == ["right"]


def test_a_database_with_a_relative_path_is_the_sources_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    monkeypatch.delenv("DREAMTRACE_ARTIFACT_ROOT", raising=False)
    with registry_of(tmp_path):
        assert os.environ["MLFLOW_TRACKING_URI"] == f"sqlite:///{tmp_path}/mlflow.db"
        assert os.environ["DREAMTRACE_ARTIFACT_ROOT"] == f"file://{tmp_path}/mlartifacts"
    assert os.environ["MLFLOW_TRACKING_URI"] == "sqlite:///mlflow.db"
    assert "DREAMTRACE_ARTIFACT_ROOT" not in os.environ
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "sqlite:///registry.db")
    with registry_of(tmp_path):
        assert os.environ["MLFLOW_REGISTRY_URI"] == f"sqlite:///{tmp_path}/registry.db"
    assert os.environ["MLFLOW_REGISTRY_URI"] == "sqlite:///registry.db"
    for uri in ("sqlite:////srv/mlflow.db", "postgresql://host/mlflow", "http://127.0.0.1:5000"):
        assert absolute_database(uri, tmp_path) == uri
    for folder in ("mlruns", "./mlruns", "file:mlruns"):
        assert absolute_database(folder, tmp_path) == (tmp_path / "mlruns").as_uri()


@pytest.mark.parametrize(
    ("uri", "given"),
    [
        (None, None),
        ("sqlite:////srv/team/mlflow.db", None),
        ("postgresql://host/mlflow", None),
        ("http://127.0.0.1:5000", None),
        ("sqlite:////srv/team/mlflow.db", "s3://bucket/mlflow/"),
        (None, "files"),
        (None, "file:files"),
        ("postgresql://host/mlflow", "./files"),
        (None, "/srv/files"),
    ],
)
def test_files_go_where_a_run_in_the_repository_itself_puts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str | None, given: str | None
) -> None:
    for name, value in {"MLFLOW_TRACKING_URI": uri, "DREAMTRACE_ARTIFACT_ROOT": given}.items():
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    source, clone = tmp_path / "source", tmp_path / "source" / ".dreamtrace" / "runs" / "one"
    plain = artifact_root(source)
    with registry_of(source):
        assert artifact_root(clone) == plain
    if given and "files" in given:
        assert plain == (Path("/srv/files") if given.startswith("/") else source / "files").as_uri()
    assert os.environ.get("DREAMTRACE_ARTIFACT_ROOT") == given
