"""The flow in a workspace of its own: one registry, results kept in the source, a failed run left for people to see."""

import os
from pathlib import Path

import pytest

from flows.isolated import absolute_database, fine_tune_isolated, registry_of
from flows.stage_task import StageFailed
from pipeline.registry.store import connect
from tests.workspace import dvc

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


def test_a_database_with_a_relative_path_is_the_sources_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    monkeypatch.delenv("DREAMTRACE_ARTIFACT_ROOT", raising=False)
    with registry_of(tmp_path):
        assert os.environ["MLFLOW_TRACKING_URI"] == f"sqlite:///{tmp_path}/mlflow.db"
        assert os.environ["DREAMTRACE_ARTIFACT_ROOT"] == f"file://{tmp_path}/mlartifacts"
    assert os.environ["MLFLOW_TRACKING_URI"] == "sqlite:///mlflow.db"
    assert "DREAMTRACE_ARTIFACT_ROOT" not in os.environ
    for uri in ("sqlite:////srv/mlflow.db", "postgresql://host/mlflow", "http://127.0.0.1:5000"):
        assert absolute_database(uri, tmp_path) == uri
