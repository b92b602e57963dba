"""A workspace on the tiny base whose stages have all run, and copies of it to tamper with."""

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

    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)
    utils._artifact_repos_cache.clear()  # MLflow remembers where a run's artifacts lie; copies have the same run
    return copy_of(origin, tmp_path / "w")  # the first connection corrects the addresses in mlflow.db
