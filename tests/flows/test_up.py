"""`dreamtrace up`: all on one machine by one command, behind a password, and down again without a trace."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from base64 import b64encode
from pathlib import Path

import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient

from pipeline.runs.status import SERVERS
from pipeline.runs.workspaces import RUNS
from tests.flows.team import QUIET, end, free_port, make_team, until
from tests.workspace import tiny_values

pytestmark = pytest.mark.live
PASSWORD = "twelve-letters-or-more"
BOTH = f"dreamtrace:{PASSWORD}"


def status(address: str, both: str | None = None) -> int:
    request = urllib.request.Request(address)
    if both:
        request.add_header("Authorization", f"Basic {b64encode(both.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def family(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def test_one_command_up_a_run_behind_a_password_and_down(tiny_base: Path, tiny_scorer: Path, tmp_path: Path) -> None:
    source = make_team(tmp_path, tiny_values(tiny_base, tiny_scorer))
    ports = {"prefect": free_port(), "mlflow": free_port(), "studio": free_port()}
    api, page = f"http://127.0.0.1:{ports['prefect']}/api", f"http://127.0.0.1:{ports['mlflow']}"
    given = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}
    given |= {"PREFECT_HOME": str(tmp_path / "prefect"), "DREAMTRACE_PASSWORD": PASSWORD, "OMP_NUM_THREADS": "1"}
    given |= {"PREFECT_WORKER_QUERY_SECONDS": "2"}
    command = [sys.executable, "-m", "pipeline.commands.app", "up", "--auth"]
    command += ["--prefect-port", str(ports["prefect"]), "--mlflow-port", str(ports["mlflow"])]
    command += ["--studio-port", str(ports["studio"])]
    said = tmp_path / "up.log"
    with said.open("wb") as log:
        process = subprocess.Popen(
            command, cwd=source, env=given, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:

        def there() -> bool:
            assert process.poll() is None, said.read_text()
            return "Ctrl-C takes everything down." in said.read_text()

        until(there, 180, "all to be up")
        assert api.removesuffix("/api") in said.read_text() and page in said.read_text()
        assert PASSWORD not in said.read_text()

        models = f"{page}/api/2.0/mlflow/experiments/get-by-name?experiment_name=x"
        assert (status(f"{api}/deployments/name/a/b"), status(models)) == (401, 401)
        assert (status(f"{api}/deployments/name/a/b", BOTH), status(models, BOTH)) == (404, 404)
        assert status(models, "dreamtrace:something else") == 401
        with urllib.request.urlopen(f"{api.removesuffix('/api')}/ui-settings", timeout=20) as answer:
            assert json.load(answer)["api_url"] == api  # the page asks the server that it came from

        studio = f"http://127.0.0.1:{ports['studio']}/photos"
        assert (status(studio), status(studio, BOTH)) == (401, 200)
        known = json.loads((source / SERVERS).read_text())
        assert (known["pid"], known["pages"]["mlflow"]) == (process.pid, page)

        client = SyncPrefectClient(api, auth_string=BOTH)
        found = client.read_deployment_by_name("fine-tune-isolated/fine-tune")
        parameters = {"name": "behind-a-password", "overrides": QUIET}
        run = client.create_flow_run_from_deployment(found.id, parameters=parameters)

        def over() -> bool:
            state = client.read_flow_run(run.id).state
            return state is not None and state.is_final()

        until(over, 240, "the run to end")
        state = client.read_flow_run(run.id).state
        assert state is not None and state.is_completed(), state
        version = f"{page}/api/2.0/mlflow/model-versions/get?name=mysks&version=1"
        assert status(version, BOTH) == 200
        assert (source / RUNS / "behind-a-password" / "artifacts" / "registration.json").is_file()

        others = family(process.pid)
        assert len(others) >= 3
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(90) == 0
        assert "taking everything down" in said.read_text()
        _, alive = psutil.wait_procs(others, 10)
        assert alive == []
        assert not any(listens(port) for port in ports.values())
    finally:
        end(process)


def test_what_is_missing_is_told_before_anything_starts(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipeline.commands.app", "up"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "run this in the repository that holds the photos" in done.stdout + done.stderr
