"""An empty registry, once on SQLite and once on PostgreSQL: what holds on one has to hold on the other."""

import shutil
from pathlib import Path

import mlflow
import pytest

from pipeline.registry.store import connect


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_registry(
    request: pytest.FixtureRequest, sqlite_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A workspace whose registry is empty."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if request.param == "postgresql":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", request.getfixturevalue("mlflow_postgres"))
    else:
        shutil.copy(sqlite_template, tmp_path)
    return tmp_path


@pytest.fixture
def bare_version(tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch) -> mlflow.MlflowClient:
    """A client of a registry with version 1 of mysks, of which no record and no weights are there."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(sqlite_template, tmp_path)
    client = connect(tmp_path)
    client.create_registered_model("mysks")
    client.create_model_version("mysks", str(tmp_path))
    return client
