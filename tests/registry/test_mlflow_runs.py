import os
import threading
from pathlib import Path
from unittest.mock import Mock

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, TEMPORARILY_UNAVAILABLE

from pipeline.network.reachable import shown
from pipeline.params import load_params
from pipeline.registry import live_run as live
from pipeline.registry.artifacts import Artifacts, ArtifactsAway, ArtifactsMissing
from pipeline.registry.lookup import find_record
from pipeline.registry.mlflow_runs import check_kept, ensure_run, log_rows
from pipeline.registry.run_note import run_note
from pipeline.registry.store import StoreError, connect, experiment_id, explained, has_store, is_named, kept_files
from pipeline.studio.training_steps import Asked, preview_sheets
from tests.registry.killed_writes import killed_before_write

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def test_a_store_that_fails_for_a_while_loses_nothing_and_doubles_nothing(workspace: Path, monkeypatch) -> None:
    from mlflow.exceptions import MlflowException
    from PIL import Image

    for name, value in live.IMPATIENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(live, "FLUSH_SECONDS", 0.02)
    run = live.open_run(workspace, load_params(ROOT / "params.yaml"), None, "0" * 32 + ".dir", "run")
    real, answered = run.client.log_batch, threading.Event()

    def arrives_but_the_answer_is_lost(*arguments, **named):
        real(*arguments, **named)
        answered.set()
        raise MlflowException("down")

    run.client.log_batch = arrives_but_the_answer_is_lost
    run.log({"step": 1, "loss": 0.5})
    run.show(Image.new("RGB", (8, 8)), 1)
    assert answered.wait(10)
    run.log({"step": 2, "loss": 0.4})
    run.client.log_batch = real
    run.log({"step": 3, "loss": 0.3})
    run.finish("FINISHED")
    history = run.client.get_metric_history(run.run_id, "loss")
    assert sorted((metric.step, metric.value) for metric in history) == [(1, 0.5), (2, 0.4), (3, 0.3)]
    assert run.client.get_run(run.run_id).info.status == "FINISHED"
    assert any("preview" in file.path for file in run.client.list_artifacts(run.run_id, "images"))


def test_a_sheet_of_previews_names_its_prompts_and_seed_also_where_a_resumed_training_has_others(
    workspace: Path,
) -> None:
    from PIL import Image

    params, ids = load_params(ROOT / "params.yaml"), set[str]()
    tries = [(1, ["a toy"], 5), (2, ["an owl", "a hut"], 5), (2, ["an owl", "a hut"], 6), (3, ["an owl", "a hut"], 6)]
    for step, prompts, seed in tries:
        preview = params.preview.model_copy(update={"prompts": prompts, "seed": seed})
        run = live.open_run(
            workspace, params.model_copy(update={"preview": preview}), next(iter(ids), None), None, "run"
        )
        run.show(Image.new("RGB", (8 * len(prompts), 8)), step)
        run.finish("FINISHED")
        ids.add(run.run_id)
    assert len(ids) == 1
    sheets = preview_sheets(workspace, run.run_id, ["an owl", "a hut"], 6)
    assert [(sheet.step, sheet.asked) for sheet in sheets] == [
        (step, Asked(tuple(prompts), seed)) for step, prompts, seed in tries
    ]


def test_a_store_that_hangs_holds_up_no_step(workspace: Path, monkeypatch, capsys) -> None:
    for name, value in live.IMPATIENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(live, "FLUSH_SECONDS", 0.02)
    monkeypatch.setattr(live, "GOODBYE_SECONDS", 0.2)
    run = live.open_run(workspace, load_params(ROOT / "params.yaml"), None, "0" * 32 + ".dir", "run")
    release, came_back = threading.Event(), []
    run.client.log_batch = lambda *_, **__: came_back.append(release.wait(60))
    for step in range(1, 200):
        run.log({"step": step, "loss": 0.5})
    run.finish("FINISHED")
    assert came_back == []  # the store hung to the end, and nobody waited for it
    release.set()
    assert "`register` completes it" in capsys.readouterr().out


def test_an_experiment_says_that_it_holds_trainings_and_of_what(workspace: Path) -> None:
    client = connect(workspace)
    tags = client.get_experiment(experiment_id(client, "mine", workspace)).tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    assert "Trainings of mine" in tags["mlflow.note.content"]


def test_an_artifact_root_that_an_experiment_does_not_take_any_more_is_told(
    workspace: Path, monkeypatch, capsys
) -> None:
    client = connect(workspace)
    usual = (workspace / "mlartifacts").as_uri()
    monkeypatch.setenv("DREAMTRACE_ARTIFACT_ROOT", usual)  # as runs in clones of this repository have it
    experiment_id(client, "mine", workspace)
    experiment_id(client, "mine", workspace)
    monkeypatch.setenv("DREAMTRACE_ARTIFACT_ROOT", "s3://bucket/mlflow")
    experiment_id(client, "other", workspace)
    experiment_id(client, "other", workspace)
    assert "warning" not in capsys.readouterr().err
    experiment_id(client, "mine", workspace)
    told = capsys.readouterr().err
    assert f"'mine' go to {usual}" in told and "not to s3://bucket/mlflow" in told
    assert [kept_files(workspace, name) for name in ("mine", "other")] == [usual, "s3://bucket/mlflow"]


def test_a_deleted_experiment_says_how_to_get_it_back(workspace: Path) -> None:
    client = connect(workspace)
    client.delete_experiment(experiment_id(client, "mine", workspace))
    with pytest.raises(StoreError, match="mlflow experiments restore"):
        experiment_id(client, "mine", workspace)


@pytest.mark.parametrize("name", ["MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"])
def test_a_store_or_a_registry_that_somebody_named_is_asked(workspace: Path, monkeypatch, name: str) -> None:
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
    assert not has_store(workspace)
    monkeypatch.setattr(mlflow, "is_tracking_uri_set", lambda: bool(os.environ.get("MLFLOW_TRACKING_URI")))
    assert not is_named()
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert has_store(workspace) and is_named()


def test_a_store_that_does_not_answer_is_one_sentence(workspace: Path, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(StoreError, match="does not answer") as caught:
        connect(workspace)
    assert "\n" not in str(caught.value)


def test_passwords_are_not_shown() -> None:
    for written in (
        "postgresql://me:secret@host:5432/db",
        "postgresql://me:s@cret@host:5432/db",
        "postgresql://me:s/cret@host:5432/db",
        "postgresql://host:5432/db?user=me&password=s3cret",
        "postgresql://me@host:5432/db?password=s3cr@t",
    ):
        assert shown(written) == "postgresql://host:5432/db"
    assert shown("postgresql:///db?host=/run/postgresql&password=s3cret") == "postgresql:///db"
    assert shown("https://me:secret@host/mlflow/") == "https://host/mlflow/"


@pytest.mark.parametrize(
    "written", ["mlflow.db", "sqlite:////home/ann@lab/w/mlflow.db", "sqlite:///mlflow.db", "s3://bucket/ann@lab"]
)
def test_where_no_password_can_be_the_whole_address_is_shown(written: str) -> None:
    assert shown(written) == written


@pytest.mark.parametrize("password", ["secret", "s@cret:x", ""])
def test_passwords_in_what_other_programs_say_are_not_shown(password: str) -> None:
    said = f"got unsupported URI 'postgres://user:{password}@host/db' for http://a.b/c?d=e@f\nsecret, too"
    for code in (INVALID_PARAMETER_VALUE, TEMPORARILY_UNAVAILABLE):
        told = str(explained(MlflowException(said, error_code=code), "sqlite:///mlflow.db"))
        assert "got unsupported URI 'postgres://host/db' for http://a.b/c?d=e@f" in told
        assert "user" not in told and "secret" not in told


def test_a_password_in_the_query_of_an_address_is_not_repeated() -> None:
    said = "cannot use 'postgresql://db/mlflow?user=ml&password=s3cret&sslmode=require'"
    told = str(explained(MlflowException(said, error_code=INVALID_PARAMETER_VALUE), "sqlite:///mlflow.db"))
    assert "s3cret" not in told and "sslmode=require" in told


def test_a_curve_that_arrived_in_part_is_completed_and_nothing_stands_twice(workspace: Path) -> None:
    client = connect(workspace)
    run = client.create_run(experiment_id(client, "mine", workspace)).info.run_id
    rows = [{"step": float(step), "loss": 1.0 / step} for step in (1, 2, 3)]
    log_rows(client, run, [rows[1]])
    params = load_params(ROOT / "params.yaml")
    for _ in range(2):
        ensure_run(workspace, params, {"run_id": run}, rows, None, "run")
    history = client.get_metric_history(run, "loss")
    assert sorted(metric.step for metric in history) == [1, 2, 3]


@pytest.mark.parametrize("cut", [2, 3, 5])
def test_a_rebuilt_run_that_was_cut_off_is_whole_after_the_next_try(workspace: Path, monkeypatch, cut: int) -> None:
    given = load_params(ROOT / "params.yaml"), {"run_id": "0" * 32}, [{"step": 1.0, "loss": 0.5}], "1" * 32, "run"
    with killed_before_write(monkeypatch, cut, ("create_run", "log_batch", "set_tag", "log_inputs")):
        ensure_run(workspace, *given)
    run = connect(workspace).get_run(ensure_run(workspace, *given))
    assert run.data.params["train.steps"] and run.data.tags["mlflow.note.content"]
    assert run.inputs.dataset_inputs[0].dataset.digest == "1" * 32
    assert ensure_run(workspace, *given) == run.info.run_id


def test_the_deleted_run_of_a_version_is_named_with_the_way_back(workspace: Path) -> None:
    client = connect(workspace)
    run = client.create_run(experiment_id(client, "mine", workspace)).info.run_id
    check_kept(client, run, "bear version 1")
    client.delete_run(run)
    with pytest.raises(StoreError, match=f"of bear version 1 was deleted.*mlflow runs restore --run-id {run}"):
        check_kept(client, run, "bear version 1")
    with pytest.raises(StoreError, match="removed from MLflow for good"):
        check_kept(client, "0" * 32, "bear version 1")


def test_a_store_that_fails_is_not_one_that_has_lost_the_run(workspace: Path, monkeypatch) -> None:
    client = connect(workspace)
    away = MlflowException("503", error_code=TEMPORARILY_UNAVAILABLE)
    monkeypatch.setattr(type(client), "get_run", Mock(side_effect=away))
    monkeypatch.setattr(type(client), "get_model_version_by_alias", Mock(side_effect=away))
    with pytest.raises(MlflowException, match="503"):
        check_kept(client, "0" * 32, "bear version 1")
    for ref in ("0" * 32, "models:/bear@champion"):
        with pytest.raises(MlflowException, match="503"), find_record(workspace, ref):
            pass
    with pytest.raises(ArtifactsAway, match="could not be asked") as caught:
        Artifacts(client, workspace).of_run("0" * 32, "record")
    assert not isinstance(caught.value, ArtifactsMissing)


def test_a_step_of_one_photo_is_told_as_one(workspace: Path) -> None:
    params = load_params(ROOT / "params.yaml")
    train = params.train.model_copy(update={"batch": 1, "gradient_accumulation": 1, "processes": 1, "steps": 1})
    assert "1 step of 1 photo." in run_note(params.model_copy(update={"train": train}))
    assert "steps of 8 photos." in run_note(params)
