"""Fixtures: one tiny base and scorer for the whole session, and a subject project in one line."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["PREFECT_LOGGING_TO_API_ENABLED"] = "false"
os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp(prefix="dreamtrace-tests-")  # the authority that signs pictures

from pipeline.environment import prepare_environment

prepare_environment()

from tests import tiny
from tests.stage_host import quick_python
from tests.workspace import tiny_values

pytest_plugins = ["tests.skipping", "tests.services.fixtures", "tests.finished_workspace", "tests.pretend.fixtures"]
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline folder with random weights for 32-pixel pictures. Read only."""
    return tiny.make_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="session")
def tiny_scorer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP with random weights. Read only."""
    return tiny.make_scorer(tmp_path_factory.mktemp("scorer") / "clip")


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of an empty registry, to be copied: a new one takes seconds. Read only."""
    from pipeline.registry.store import connect

    folder = tmp_path_factory.mktemp("registry")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        connect(folder)
    return folder / "mlflow.db"


@pytest.fixture
def quick_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages that flows and commands of this process have DVC run come from `tests.stage_host`."""
    from pipeline.runs import dvc

    real = dvc._environment
    path = lambda given: {**given, "PATH": f"{quick_python()}{os.pathsep}{given['PATH']}"}  # noqa: E731
    monkeypatch.setattr(dvc, "_environment", lambda: path(real()))


@pytest.fixture
def values(tiny_base: Path, tiny_scorer: Path) -> dict[str, Any]:
    """The pocket preset, cut down to the tiny base."""
    return tiny_values(tiny_base, tiny_scorer)


@pytest.fixture
def project(
    tmp_path: Path, values: dict[str, Any], sqlite_template: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Path]:
    """`project(photos=5, train={"steps": 2})`: a workspace with photos and params.yaml, as the current folder."""

    def make(photos: int = 5, **changes: dict[str, Any]) -> Path:
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        tiny.make_photos(tmp_path / "data", photos)
        shutil.copy(sqlite_template, tmp_path)
        for section, change in changes.items():
            values[section] |= change
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
        monkeypatch.chdir(tmp_path)
        return tmp_path

    return make
