"""A workspace on the tiny base whose stages have all run, and copies of it to tamper with."""

import sqlite3
from pathlib import Path

import pytest

from tests.workspace import copy_of, dvc, make_workspace, tiny_values


@pytest.fixture(scope="session")
def origin(tiny_base: Path, tiny_scorer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose stages have all run, under DVC."""
    folder = make_workspace(tmp_path_factory.mktemp("origin") / "w", tiny_values(tiny_base, tiny_scorer))
    dvc(folder, "repro", "-q")
    return folder


@pytest.fixture
def copy(origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from mlflow.tracking._tracking_service import utils

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    utils._artifact_repos_cache.clear()  # MLflow remembers where a run's artifacts lie; copies have the same run
    folder = copy_of(origin, tmp_path / "w")
    with sqlite3.connect(folder / "mlflow.db") as database:  # artifacts are known by their absolute paths
        moved = (str(origin), str(folder))
        for table, column in (
            ("experiments", "artifact_location"), ("runs", "artifact_uri"), ("model_versions", "source"),
            ("model_versions", "storage_location"), ("logged_models", "artifact_location"),
        ):  # fmt: skip
            database.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", moved)
    return folder
