"""What processes find in their environment."""

import getpass
import os

import pytest

from pipeline.environment import prepare_environment, user_name


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
