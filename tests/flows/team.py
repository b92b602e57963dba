"""A team's machines in a test: a Prefect server and workers as processes, a repository on the tiny base."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun

from pipeline.layout import JOURNAL
from pipeline.runs.workspaces import RUNS
from pipeline.servers.deployments import deploy
from pipeline.servers.start_commands import LEASES, prefect_server
from pipeline.servers.workers import Worker
from tests.workspace import ROOT, dvc, git, make_workspace

QUIET = {"preview.every": 0, "train.validate_every": 0, "train.save_every": 0}
LONG = {**QUIET, "train.steps": 1500, "train.checkpoint_every": 50, "train.log_every": 10}  # a minute, or less


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(holds: Callable[[], Any], seconds: float, what: str) -> Any:
    """What `holds` returns once it is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := holds():
            return found
        time.sleep(0.3)
    raise AssertionError(f"waited {seconds:.0f} s for {what}")


def make_team(folder: Path, values: dict[str, Any]) -> Path:
    """A repository with photos, a DVC remote outside of it, and the deployments."""
    source = make_workspace(folder / "team", values)
    (source / "prefect.yaml").symlink_to(ROOT / "prefect.yaml")
    dvc(source, "remote", "add", "-q", "-f", "-d", "team", str(folder / "remote"))
    git(source, "add", "prefect.yaml")
    git(source, "commit", "-qam", "deployments, and a remote for all")
    dvc(source, "push", "-q")
    for name, value in (("name", "t"), ("email", "t@example.com")):
        git(source, "config", f"user.{name}", value)
    return source


class Team:
    """One Prefect server; it can be stopped and started again on the same database."""

    def __init__(self, folder: Path, source: Path, environment: dict[str, str] | None = None):
        self.folder, self.source, self.port = folder, source, free_port()
        self.api = f"http://127.0.0.1:{self.port}/api"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))},
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": LEASES,
            "PREFECT_API_URL": self.api,
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
            "DREAMTRACE_SOURCE": str(source),
            "OMP_NUM_THREADS": "1",
            **(environment or {}),
        }
        self.client = SyncPrefectClient(self.api)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.start_server()

    def start_server(self) -> None:
        self.server = self.start(prefect_server(self.port), "server")
        until(self._answers, 120, "the Prefect server")

    def stop_server(self) -> None:
        end(self.server)

    def deploy(self, slots: list[str]) -> None:
        deploy(self.source, self.environment, slots)

    def start(self, command: list[str], name: str, **environment: str) -> "subprocess.Popen[bytes]":
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=self.source,
                env={**self.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    @contextmanager
    def worker(self, name: str = "cpu", limit: int = 8, **environment: str) -> Iterator["subprocess.Popen[bytes]"]:
        """A worker of the pool cpu whose runs take turns on one slot."""
        worker = Worker("cpu", name, limit)
        process = self.start(worker.command(), f"worker-{name}", **{**worker.environment(), **environment})
        try:
            yield process
        finally:
            end(process)

    def run(self, deployment: str, **parameters: Any) -> FlowRun:
        """Ask for a run, as the form does."""
        found = self.client.read_deployment_by_name(deployment)
        return self.client.create_flow_run_from_deployment(found.id, parameters=parameters)

    def fine_tune(self, name: str, **overrides: Any) -> FlowRun:
        return self.run("fine-tune-isolated/fine-tune", name=name, overrides={**LONG, **overrides})

    def state(self, run: FlowRun | UUID) -> str:
        state = self.client.read_flow_run(run.id if isinstance(run, FlowRun) else run).state
        return str(state and state.name)

    def wait(self, run: FlowRun, state: str, seconds: float = 900) -> None:
        """Until the run is in a state; one that ended otherwise is an error at once, with its message."""

        def there() -> bool:
            found = self.client.read_flow_run(run.id).state
            assert found is not None
            if found.is_final() and found.name != state:
                raise AssertionError(f"{run.name} is {found.name}: {found.message}")
            return found.name == state

        until(there, seconds, f"{run.name} to be {state}")

    def steps(self, name: str) -> int:
        """How far the training in a run's workspace is."""
        file = self.source / RUNS / name / JOURNAL
        if not file.is_file():
            return 0
        lines = file.read_text().splitlines()[1:]
        return int(json.loads(lines[-1])["step"]) if lines and lines[-1].endswith("}") else 0

    def until_step(self, name: str, step: int) -> None:
        until(lambda: self.steps(name) >= step, 600, f"step {step} of {name}")

    def training(self, name: str) -> list[psutil.Process]:
        """The processes that work in a run's workspace."""
        folder, found = str(self.source / RUNS / name), []
        for process in psutil.process_iter():
            try:
                if process.cwd() == folder and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def log_of(self, run: FlowRun) -> str:
        from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId

        wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id]))
        found: list[str] = []
        while page := self.client.read_logs(wanted, limit=200, offset=len(found)):
            found += [line.message for line in page]
        return "\n".join(found)

    def close(self) -> None:
        for process in reversed(self.processes):
            end(process)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.api}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def end(process: "subprocess.Popen[bytes]", seconds: float = 40) -> None:
    """SIGTERM to a process and what belongs to its session, SIGKILL where that is not heard."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def kill_tree(process: "subprocess.Popen[bytes]") -> list[int]:
    """SIGKILL to a worker and the flow runs that it started, as when a host dies; the stages' processes are left."""
    family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    flows = [one for one in family if "dvc" not in one.cmdline() and "pipeline.stages" not in " ".join(one.cmdline())]
    for one in flows:
        one.kill()
    process.wait(10)
    return [one.pid for one in flows]


def mlflow_server(folder: Path, port: int) -> "subprocess.Popen[bytes]":
    """An MLflow server with a database and files of its own."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/m.db", "--artifacts-destination", str(folder / "files")]
    with (folder / "mlflow.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                return True
        except OSError:
            return False

    until(answers, 120, "the MLflow server")
    return process
