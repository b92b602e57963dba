"""MLflow, Prefect and a worker for each pool that this machine can serve: one command up, Ctrl-C down."""

import os
import re
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError
from pipeline.files import write_json
from pipeline.layout import STATE
from pipeline.network.reachable import shown
from pipeline.processes import GRACE_S, Command
from pipeline.registry.page_links import TRAININGS, trainings_page
from pipeline.registry.store import connect
from pipeline.runs.status import SERVERS
from pipeline.servers.authentication import Access, open_access
from pipeline.servers.deployments import deploy
from pipeline.servers.start_commands import (
    HOST,
    check_ports,
    mlflow_server,
    page_environment,
    prefect_server,
    studio_server,
)
from pipeline.servers.workers import Worker, workers_of
from pipeline.training.signals import SAVE_S

LOGS = STATE / "up"
READY_S = 120.0
BRIEF_S = 20.0  # a service that ends sooner after its start will not do better the next time


class UpError(UserError):
    """A server or worker cannot be started."""


@dataclass(frozen=True)
class Ports:
    """Where the servers listen."""

    prefect: int
    mlflow: int
    studio: int


@dataclass(frozen=True)
class Service:
    """A process that is started again when it ends; `apart` as in `Command`."""

    name: str
    command: list[str]
    environment: dict[str, str]
    grace_s: float = GRACE_S
    apart: bool = False


def run_up(workspace: Path, ports: Ports, with_auth: bool, notify: str = "") -> None:
    """Start everything, print the addresses, and stay until Ctrl-C or SIGTERM; then stop all of it.

    Args:
        notify: the address that is called when a run ends, fails or waits for a person; empty: none.

    Raises:
        UpError: this is no repository of dreamtrace, or a process does not start.
        PortTaken: a port is in use.
    """
    workspace = workspace.resolve()
    _check(workspace, {f"--{name}-port": port for name, port in vars(ports).items()})
    if notify and not re.match(r"^https?://[^/\s]+", notify):
        raise UpError(f"--notify wants an address such as https://hooks.example.com/..., found '{notify}'")
    access = open_access(workspace / LOGS, with_auth)
    pages = {name: f"http://{HOST}:{port}" for name, port in vars(ports).items()}
    api, page = f"{pages['prefect']}/api", pages["mlflow"]
    trainings = f"{page}/#/experiments{TRAININGS}"
    if not os.environ.get("MLFLOW_BACKEND_STORE_URI"):
        with _without("MLFLOW_TRACKING_URI"):
            trainings = trainings_page(workspace, connect(workspace), page)  # `connect` sets a new database up
    clients = {
        "PREFECT_API_URL": api,
        "MLFLOW_TRACKING_URI": page,
        "DREAMTRACE_SOURCE": str(workspace),
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        **access.client,
    }
    with _asked_to_stop() as stop, ExitStack() as running, _told_at_once() as at_work:
        servers = [
            Service("mlflow", mlflow_server(ports.mlflow, with_auth), _mlflow_environment(workspace, access)),
            Service("prefect", prefect_server(ports.prefect), access.prefect | page_environment(ports.prefect)),
        ]
        alive = [running.enter_context(_kept_alive(service, workspace, stop)) for service in servers]
        _wait_for(f"{page}/health", alive[0], stop)
        _wait_for(f"{api}/health", alive[1], stop)
        if not stop.is_set():
            workers = workers_of()
            deploy(workspace, clients | {"DREAMTRACE_NOTIFY": notify}, [worker.slot for worker in workers])
            for worker in workers:
                service = Service(worker.name, worker.command(), clients | worker.environment(), SAVE_S, apart=True)
                at_work.append(running.enter_context(_kept_alive(service, workspace, stop)))
            studio = Service("studio", studio_server(ports.studio, with_auth), clients | access.studio, SAVE_S)
            at_work.append(running.enter_context(_kept_alive(studio, workspace, stop)))
            _wait_for(f"{pages['studio']}/static/studio.css", at_work[-1], stop)
            running.enter_context(_announced(workspace, pages))
            _tell(workspace, pages | {"mlflow": trainings}, access, workers)
        while not stop.wait(0.5):
            for keeper in (*alive, *at_work):
                if keeper.gave_up:
                    raise UpError(keeper.gave_up)
        print("taking everything down; a running training saves its state first", flush=True)


@contextmanager
def _announced(workspace: Path, pages: dict[str, str]) -> Iterator[None]:
    """Within it `dreamtrace status` knows the pages."""
    write_json(workspace / SERVERS, {"pid": os.getpid(), "pages": pages})
    try:
        yield
    finally:
        (workspace / SERVERS).unlink(missing_ok=True)


def _tell(workspace: Path, pages: dict[str, str], access: Access, workers: list[Worker]) -> None:
    print(f"\nstudio   {pages['studio']}   photos, runs, pictures, verdict, models: begin here")
    print(f"Prefect  {pages['prefect']}   runs are started, scheduled, watched and approved here")
    print(f"MLflow   {pages['mlflow']}   curves, pictures, registered models")
    for worker in workers:
        print(f"worker   {worker.name}: {worker.purpose}")
    if not any(worker.pool == "gpu" for worker in workers):
        print("         this machine has no usable GPU: runs of the pool gpu wait for a host that has one")
    print(access.notice)
    print(f"logs     {workspace / LOGS}")
    print("Ctrl-C takes everything down.", flush=True)


class _Keeper:
    """Runs a service in a thread, again and again, until it is told to stop."""

    def __init__(self, service: Service, workspace: Path, stop: threading.Event):
        self.service, self.workspace, self.stop = service, workspace, stop
        self.log = workspace / LOGS / f"{service.name}.log"
        self.gave_up: str | None = None
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._keep, name=service.name)
        self.thread.start()

    def _keep(self) -> None:
        brief = 0
        while not self.done.is_set():
            began = time.monotonic()
            environment = {**os.environ, **self.service.environment}
            service = self.service
            with Command(
                service.command, self.workspace, environment, service.grace_s, self.log, service.apart
            ) as running:
                while running.process.poll() is None and not self.done.wait(0.2):
                    pass
            if self.done.is_set():
                return
            brief = brief + 1 if time.monotonic() - began < BRIEF_S else 0
            status = running.process.returncode
            if brief == 3:
                self.gave_up = f"{self.service.name} ended with status {status} three times in a row; see {self.log}"
                return
            print(f"{self.service.name} ended with status {status}; restarting it", flush=True)
            self.done.wait(2)


@contextmanager
def _kept_alive(service: Service, workspace: Path, stop: threading.Event) -> Iterator[_Keeper]:
    keeper = _Keeper(service, workspace, stop)
    try:
        yield keeper
    finally:
        keeper.done.set()
        keeper.thread.join()


@contextmanager
def _told_at_once() -> Iterator[list[_Keeper]]:
    """Services that may take minutes to end: at the end of the block all are told, before anybody waits for one."""
    keepers: list[_Keeper] = []
    try:
        yield keepers
    finally:
        for keeper in keepers:
            keeper.done.set()


def _mlflow_environment(workspace: Path, access: Access) -> dict[str, str]:
    """SQLite and a folder in the workspace, where the environment names no other stores."""
    backend = os.environ.get("MLFLOW_BACKEND_STORE_URI") or f"sqlite:///{workspace / 'mlflow.db'}"
    artifacts = os.environ.get("MLFLOW_ARTIFACTS_DESTINATION") or (workspace / "mlartifacts").as_uri()
    print(f"starting MLflow on {shown(backend)}, files in {shown(artifacts)}, and Prefect", flush=True)
    return {
        "MLFLOW_BACKEND_STORE_URI": backend,
        "MLFLOW_ARTIFACTS_DESTINATION": artifacts,
        "MLFLOW_TRACKING_URI": "",
        **access.mlflow,
    }


def _check(workspace: Path, ports: dict[str, int]) -> None:
    for name in ("dvc.yaml", "prefect.yaml", "params.yaml", ".git"):
        if not (workspace / name).exists():
            raise UpError(f"{workspace} has no {name}: run this in the repository that holds the photos")
    check_ports(ports)
    (workspace / LOGS).mkdir(parents=True, exist_ok=True)


def _wait_for(address: str, keeper: _Keeper, stop: threading.Event) -> None:
    until = time.monotonic() + READY_S
    while not stop.is_set():
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except urllib.error.HTTPError as error:
            if error.code in (401, 403):  # it answers
                return
        except OSError:
            pass
        if keeper.gave_up or time.monotonic() > until:
            raise UpError(keeper.gave_up or f"{keeper.service.name} does not answer at {address}; see {keeper.log}")
        stop.wait(0.3)


@contextmanager
def _asked_to_stop() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set."""
    stop = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    old = {number: signal.signal(number, lambda *_: stop.set()) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
        sys.stdout.flush()


@contextmanager
def _without(variable: str) -> Iterator[None]:
    given = os.environ.pop(variable, None)
    try:
        yield
    finally:
        if given is not None:
            os.environ[variable] = given
