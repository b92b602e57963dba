"""An empty registry, once on SQLite and once on PostgreSQL: what holds on one has to hold on the other."""

import shutil
from pathlib import Path

import pytest


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
