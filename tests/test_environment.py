"""What processes find in their environment."""

import os

import pytest

from pipeline.environment import prepare_environment


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
