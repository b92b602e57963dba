"""A workspace that was moved or copied keeps its files, and writes into no other folder; servers and their absence."""

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.commands import app
from pipeline.registry import store
from pipeline.registry.artifacts import Artifacts, ArtifactsAway, local_path
from pipeline.registry.store import StoreError, connect, experiment_id, kept_files
from pipeline.registry.versions import PAGE, all_versions, versions_of


@pytest.fixture
def first(sqlite_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with one run that has a file, and an experiment without runs."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tmp_path / "first place"
    folder.mkdir()
    shutil.copy(sqlite_template, folder / "mlflow.db")
    client = connect(folder)
    experiment_id(client, "empty", folder)
    run = client.create_run(experiment_id(client, "bear", folder))
    client.log_text(run.info.run_id, "a record", "record/x/lineage.json")
    return folder


@pytest.fixture(autouse=True)
def _as_in_a_process_of_its_own() -> Iterator[None]:
    _forget()
    yield
    _forget()


def _forget() -> None:
    """MLflow remembers in a process where a run's artifacts are; the next command is another process."""
    from mlflow.tracking._tracking_service import utils

    utils._artifact_repos_cache.clear()


def files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and "mlartifacts" in path.parts}


def run_of(folder: Path) -> str:
    client = connect(folder)
    experiment = client.get_experiment_by_name("bear")
    return client.search_runs([experiment.experiment_id])[0].info.run_id


def test_a_moved_workspace_finds_its_files_and_never_makes_the_old_folder_again(first: Path, tmp_path: Path) -> None:
    moved = first.rename(tmp_path / "second_place")
    _forget()
    run = run_of(moved)
    assert Artifacts(connect(moved), tmp_path / "s").of_run(run, "record/x").is_relative_to(moved)
    client = connect(moved)
    for name in ("bear", "empty", "another"):
        client.log_text(client.create_run(experiment_id(client, name, moved)).info.run_id, "new", "new.txt")
    client.log_text(run, "more", "more.txt")
    assert not first.exists()
    assert len(files(moved)) == 5


def test_a_copy_writes_into_itself_alone(first: Path, tmp_path: Path) -> None:
    twin = Path(shutil.copytree(first, tmp_path / "twin"))
    _forget()
    before = files(first)
    client = connect(twin)
    client.log_text(client.create_run(experiment_id(client, "bear", twin)).info.run_id, "new", "new.txt")
    assert (files(first), len(files(twin))) == (before, 2)
    client = connect(first)
    client.log_text(client.create_run(experiment_id(client, "bear", first)).info.run_id, "new", "new.txt")
    assert len(files(first)) == 2 and len(files(twin)) == 2


def test_files_that_another_workspace_keeps_stay_its_own_even_while_it_is_away(first: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "mlartifacts"
    client = connect(first)
    experiment = client.create_experiment("shared", artifact_location=other.as_uri())
    run = client.create_run(experiment)
    client.log_text(run.info.run_id, "theirs", "theirs.txt")
    other.rename(tmp_path / "unmounted")
    with sqlite3.connect(first / "mlflow.db") as database:
        before = database.execute("SELECT artifact_uri FROM runs").fetchall()
    connect(first)
    with sqlite3.connect(first / "mlflow.db") as database:
        assert database.execute("SELECT artifact_uri FROM runs").fetchall() == before


def test_what_a_server_of_this_workspace_stored_is_read_and_written_without_it(first: Path, tmp_path: Path) -> None:
    client = connect(first)
    experiment = client.create_experiment("served", artifact_location="mlflow-artifacts:/7")
    run = client.create_run(experiment).info.run_id
    client.log_text(run, "a record", "record/x/lineage.json")
    stored = first / "mlartifacts" / "7" / run / "artifacts" / "record" / "x" / "lineage.json"
    assert stored.read_text() == "a record"
    assert Artifacts(client, tmp_path / "s").of_run(run, "record/x") == stored.parent
    assert [item.path for item in client.list_artifacts(run, "record")] == ["record/x"]
    assert not (tmp_path / "s").exists()  # read in place, nothing was copied


@pytest.mark.parametrize(
    "given", ["sent here", "sent%20here", "{0}/sent here", "file://{0}/sent%20here", "s3://bucket"]
)
def test_what_a_server_stored_is_read_where_its_environment_says_by_path_or_by_address(
    first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("MLFLOW_ARTIFACTS_DESTINATION", given.format(first))
    monkeypatch.chdir(tmp_path)
    connect(first).create_experiment("served", artifact_location="mlflow-artifacts:/7")
    folder = None if given.startswith("s3:") else first / "sent here"
    assert local_path("mlflow-artifacts:/7/x") == (folder and folder / "7" / "x")
    assert kept_files(first, "served") == (folder and folder.as_uri())


def test_files_that_are_away_are_one_sentence(first: Path, tmp_path: Path) -> None:
    artifacts = Artifacts(connect(first), tmp_path / "s")
    with pytest.raises(ArtifactsAway, match="does not exist"):
        artifacts.of_run(run_of(first), "record/y")
    with pytest.raises(ArtifactsAway, match="MLflow has no run"):
        artifacts.of_run("0" * 32, "record")
    with pytest.raises(ArtifactsAway, match="cannot be read") as caught:
        artifacts.at("unheard-of://nowhere/file")
    assert "\n" not in str(caught.value)


def test_a_database_of_another_mlflow_is_one_sentence_with_the_way_on(first: Path) -> None:
    with sqlite3.connect(first / "mlflow.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '0c779009ac13'")
    from mlflow.tracking._tracking_service import utils

    utils._tracking_store_registry._get_store_with_resolved_uri.cache_clear()
    with pytest.raises(StoreError, match="mlflow db upgrade") as caught:
        connect(first)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["100%", "what?"])
def test_a_path_that_no_database_address_can_hold_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / name).mkdir()
    with pytest.raises(StoreError, match="rename the folder"):
        connect(tmp_path / name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/nowhere/mlflow.db")
    with pytest.raises(StoreError, match="there is no folder"):
        connect(tmp_path)


def test_an_error_of_mlflow_reaches_a_person_as_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from mlflow.exceptions import MlflowException

    def fails() -> None:
        raise MlflowException("Registered Model with name=nope not found\nand more", 404)

    monkeypatch.setattr(app, "app", fails)
    with pytest.raises(SystemExit) as left:
        app.main()
    assert left.value.code in (1, 75)
    said = capsys.readouterr().err
    assert said.startswith("error: the MLflow store at") and said.count("\n") == 1
    monkeypatch.setattr(app, "app", lambda: {}["a defect"])
    with pytest.raises(KeyError):
        app.main()


def test_the_first_question_to_a_server_is_impatient_and_leaves_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "4")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT", raising=False)
    with store._impatient():
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "10"
        assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "4"  # what somebody set is theirs
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT" not in os.environ


def test_versions_are_read_to_the_last_page(first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = connect(first)
    client.create_registered_model("bear")
    for _ in range(5):
        client.create_model_version("bear", (first / "none").as_uri(), run_of(first))
    monkeypatch.setattr("pipeline.registry.versions.PAGE", 2)
    assert PAGE > 2
    assert [str(version.version) for version in versions_of(client, "bear")] == ["1", "2", "3", "4", "5"]
    assert len(list(all_versions(client))) == 5
