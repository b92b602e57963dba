"""A Prefect server of its own for the tests of a file, and a team's repository for a test."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.team import make_team
from tests.workspace import tiny_values


@pytest.fixture
def source(tiny_base: Path, tiny_scorer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository that isolated runs are clones of; its DVC remote lies beside it, in the folder `remote`."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return make_team(tmp_path, tiny_values(tiny_base, tiny_scorer))


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Prefect's harness does not keep away from the user's PREFECT_HOME: this does."""
    old = os.environ.get("PREFECT_HOME")
    os.environ["PREFECT_HOME"] = str(tmp_path_factory.mktemp("prefect"))
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield
    if old is None:
        del os.environ["PREFECT_HOME"]
    else:
        os.environ["PREFECT_HOME"] = old
