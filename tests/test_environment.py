"""What processes find in their environment."""

import getpass
import os
import re
from pathlib import Path

import pytest

from pipeline.environment import prepare_environment, user_name

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("load", "before", "policy"),
    [
        (0.3, {}, None),
        (99.0, {}, "passive"),
        (99.0, {"OMP_WAIT_POLICY": "active"}, "active"),
        (99.0, {"GOMP_SPINCOUNT": "100"}, None),
    ],
)
def test_on_a_busy_machine_threads_wait_asleep_unless_a_person_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, load: float, before: dict[str, str], policy: str | None
) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, "")  # so that it is undone
        monkeypatch.delenv(name)
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, load, load))
    prepare_environment()
    assert os.environ.get("OMP_WAIT_POLICY") == policy


def test_a_user_without_an_account_is_called_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)

    def nobody(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr("pwd.getpwuid", nobody)
    with pytest.raises((KeyError, OSError)):
        getpass.getuser()
    assert user_name() == f"uid {os.getuid()}"


READ = re.compile(r"""environ(?:\.get\(|\[)"(MLFLOW_[A-Z0-9_]+)"|"(DREAMTRACE_[A-Z_]+)\"""")
TO_OWN_PROCESSES = {"DREAMTRACE_PRELOAD", "DREAMTRACE_STATUS_FILE", "DREAMTRACE_VERSION"}  # nobody else sets them


def test_every_variable_of_stores_and_of_ours_is_explained_in_the_docs() -> None:
    code = "".join(path.read_text() for room in ("pipeline", "flows") for path in sorted((ROOT / room).rglob("*.py")))
    read = {first or second for first, second in READ.findall(code)} - TO_OWN_PROCESSES
    assert {"DREAMTRACE_MLFLOW_PAGE", "MLFLOW_REGISTRY_URI", "MLFLOW_TRACKING_URI"} <= read
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "deploy" / "README.md"]
    explained = set(re.findall(r"\b[A-Z0-9]+_[A-Z0-9_]+\b", "".join(page.read_text() for page in pages)))
    assert sorted(read - explained) == []
