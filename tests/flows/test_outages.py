"""Stores that go away while runs need them: MLflow for a minute, the DVC remote at the start and at the end."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows import isolated
from pipeline.layout import DATA
from pipeline.registry.store import connect
from pipeline.runs.workspaces import RUNS
from tests.flows.team import Team, end, free_port, make_team, mlflow_server
from tests.workspace import dvc, git, tiny_values

pytestmark = pytest.mark.live
AWAY_S = 60


@pytest.fixture
def mlflow_port() -> int:
    return free_port()


@pytest.fixture
def team(tiny_base: Path, tiny_scorer: Path, mlflow_port: int, tmp_path: Path) -> Iterator[Team]:
    source = make_team(tmp_path, tiny_values(tiny_base, tiny_scorer))
    team = Team(tmp_path, source, {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{mlflow_port}"})
    try:
        team.deploy([])
        yield team
    finally:
        team.close()


def test_mlflow_is_away_for_a_minute_and_no_point_of_the_curve_is_lost(
    team: Team, mlflow_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = mlflow_server(tmp_path, mlflow_port)
    try:
        run = team.fine_tune("outage", **{"train.steps": 4000})
        with team.worker():
            team.until_step("outage", 100)
            end(server)
            gone, before = time.monotonic(), team.steps("outage")
            team.until_step("outage", before + 300)  # it goes on without its record
            time.sleep(max(0.0, AWAY_S - (time.monotonic() - gone)))
            server = mlflow_server(tmp_path, mlflow_port)
            team.wait(run, "Completed", 400)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{mlflow_port}")
        client = connect(team.source)
        version = client.get_model_version("mysks", "1")
        points = client.get_metric_history(version.run_id, "loss")
        assert sorted(point.step for point in points) == list(range(10, 4001, 10))
        assert client.get_run(version.run_id).info.status == "FINISHED"
    finally:
        end(server)


@pytest.fixture
def remote(source: Path, bucket) -> Path:
    """The repository with its DVC remote on S3, and the photos there."""
    dvc(source, "remote", "add", "-q", "-f", "-d", "team", f"{bucket.url}/dvc")
    git(source, "commit", "-qam", "a remote on S3")
    dvc(source, "push", "-q")
    return source


def unreachable(source: Path) -> None:
    """Nothing listens at the remote's address any more."""
    dvc(source, "remote", "modify", "-q", "--local", "team", "endpointurl", f"http://127.0.0.1:{free_port()}")


def test_a_remote_that_is_away_at_the_start_is_told_in_one_sentence(remote: Path, prefect) -> None:
    unreachable(remote)
    for path in (remote / ".dvc" / "cache").rglob("*"):
        if path.is_file():
            path.unlink()
    state = isolated.fine_tune_isolated(name="early", source=remote, return_state=True)
    assert state.is_failed()
    said = str(state.message)
    assert "the photos could not be fetched: the DVC remote team at http://127.0.0.1:" in said
    assert "does not answer" in said and "status 1" not in said
    assert not (remote / RUNS / "early" / DATA / "metadata.jsonl").exists()


def test_a_remote_that_is_away_at_the_end_gets_the_results_later(
    remote: Path, prefect, monkeypatch: pytest.MonkeyPatch
) -> None:
    unreachable(remote)
    tries, keep_results = [], isolated.keep_results

    def watched(workspace: Path):
        if tries:  # it is back by the second try
            dvc(workspace, "remote", "modify", "-q", "--local", "--unset", "team", "endpointurl")
        tries.append(keep_results(workspace))
        return tries[-1]

    monkeypatch.setattr(isolated, "keep_results", watched)
    monkeypatch.setattr(isolated, "keep", isolated.keep.with_options(retry_delay_seconds=[0, 0, 0]))
    made = isolated.fine_tune_isolated(name="late", source=remote)
    assert made["version"] == "1"
    assert tries[0].problems[0].startswith("`dvc push` failed in ")
    assert "status 1" not in tries[0].problems[0]
    assert [one.problems for one in tries[1:]] == [[]]
    dvc(remote, "remote", "modify", "-q", "--local", "--unset", "team", "endpointurl")
    assert "late" in dvc(remote, "exp", "list", "--name-only").split()
    status = dvc(remote / RUNS / "late", "status", "--cloud", "-q", "dvc.yaml", "data.dvc")
    assert status == ""
