"""Two hosts that share nothing but the stores: Prefect and MLflow on PostgreSQL, files and the DVC remote on S3."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.commands.trace import show_trace
from pipeline.files import read_json
from pipeline.layout import REGISTRATION
from pipeline.registry.store import connect
from pipeline.runs.workspaces import RUNS
from pipeline.servers.start_commands import mlflow_server
from tests.flows.team import QUIET, Team, free_port, make_team, until
from tests.flows.test_up import status
from tests.services.fixtures import Bucket
from tests.workspace import dvc, git, tiny_values

pytestmark = pytest.mark.live


@pytest.fixture
def team(
    tiny_base: Path, tiny_scorer: Path, bucket: Bucket, new_database: Callable[[], str], tmp_path: Path
) -> Iterator[Team]:
    source = make_team(tmp_path, tiny_values(tiny_base, tiny_scorer))
    dvc(source, "remote", "add", "-q", "-f", "-d", "team", f"{bucket.url}/dvc")
    git(source, "commit", "-qam", "a remote on S3")
    dvc(source, "push", "-q")
    port = free_port()
    page = f"http://127.0.0.1:{port}"
    database = new_database().replace("postgresql://", "postgresql+asyncpg://")
    team = Team(
        tmp_path,
        source,
        {"MLFLOW_TRACKING_URI": page, "PREFECT_SERVER_DATABASE_CONNECTION_URL": database},
    )
    stores = {
        "MLFLOW_BACKEND_STORE_URI": new_database().replace("postgresql://", "postgresql+psycopg://"),
        "MLFLOW_ARTIFACTS_DESTINATION": f"{bucket.url}/mlflow",
        "MLFLOW_TRACKING_URI": "",
    }
    try:
        team.start(mlflow_server(port, False), "mlflow", **stores)
        until(lambda: answers(f"{page}/health"), 120, "MLflow")
        team.deploy(["one", "two"])
        yield team
    finally:
        team.close()


def answers(address: str) -> bool:
    try:
        return status(address) == 200
    except OSError:
        return False


def test_two_hosts_share_the_work_and_nothing_but_the_stores(
    team: Team, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    hosts = [tmp_path / name for name in ("one", "two")]
    for host in hosts:
        git(tmp_path, "clone", "-q", str(team.source), host.name)
        for name, value in (("name", "t"), ("email", "t@example.com")):
            git(host, "config", f"user.{name}", value)
    work = {**QUIET, "train.steps": 100}
    runs = [
        team.run("fine-tune-isolated/fine-tune", name=f"run-{seed}", overrides={**work, "train.seed": seed})
        for seed in (1, 2)
    ]
    with (
        team.worker("one", 1, DREAMTRACE_SOURCE=str(hosts[0]), DREAMTRACE_SLOT="one"),
        team.worker("two", 1, DREAMTRACE_SOURCE=str(hosts[1]), DREAMTRACE_SLOT="two"),
    ):
        for run in runs:
            team.wait(run, "Completed", 400)
    made = [list((host / RUNS).glob(f"*/{REGISTRATION}")) for host in hosts]
    assert [len(paths) for paths in made] == [1, 1]  # each host did one
    versions = [read_json(path)["version"] for (path,) in made]
    assert sorted(versions) == ["1", "2"]
    for prefix in ("dvc/", "mlflow/"):
        assert bucket.client.list_objects_v2(Bucket=bucket.name, Prefix=prefix)["KeyCount"] > 5

    monkeypatch.setenv("MLFLOW_TRACKING_URI", team.environment["MLFLOW_TRACKING_URI"])
    client = connect(team.source)
    assert {str(version.version) for version in client.search_model_versions()} == {"1", "2"}
    for version in versions:  # from the repository, where neither of them was trained
        assert show_trace(team.source, f"models:/mysks/{version}", True, True), capfd.readouterr().out
