"""Servers answer their own page only, keep secrets off command lines, and workers take the GPUs that they may use."""

import errno
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from pipeline.commands import serve
from pipeline.servers.authentication import PASSWORD, open_access
from pipeline.servers.start_commands import PortTaken, check_ports, page_environment, prefect_server
from pipeline.servers.workers import visible_gpus, workers_of
from tests.services.debian import free_port

FOUR = "\n".join(f"GPU {number}: NVIDIA L4 (UUID: GPU-0000000{number})" for number in range(4))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, ["0", "1", "2", "3"]),
        ("2,3", ["2", "3"]),
        ("3, 1", ["3", "1"]),
        ("", []),
        ("-1", []),
        ("0,-1,1", ["0"]),
        ("0,7,1", ["0"]),
        ("1,1", []),
        ("NoDevFiles", []),
        ("GPU-00000002", ["GPU-00000002"]),
        ("MIG-8932f937,GPU-00000001", ["MIG-8932f937", "GPU-00000001"]),
    ],
)
def test_workers_take_the_gpus_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None, expected: list[str]
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\ncat <<'END'\n{FOUR}\nEND\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if given is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert visible_gpus() == expected
    workers = [worker for worker in workers_of() if worker.pool == "gpu"]
    assert [worker.environment()["CUDA_VISIBLE_DEVICES"] for worker in workers] == expected
    assert len({worker.slot for worker in workers}) == len(expected)


def test_without_a_driver_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert visible_gpus() == []


def answer(url: str, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, dict[str, str]]:
    request = urllib.request.Request(url, body, {name.replace("_", "-"): value for name, value in headers.items()})
    request.method = method
    try:
        with urllib.request.urlopen(request, timeout=30) as found:
            return int(found.status), dict(found.headers)
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers)


def test_prefect_answers_no_page_of_another_origin(tmp_path: Path) -> None:
    port = free_port()
    environment = {**os.environ, **page_environment(port), "PREFECT_HOME": str(tmp_path)}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(prefect_server(port), env=environment, stdout=log, stderr=log)
    api = f"http://127.0.0.1:{port}/api"
    try:
        end = time.monotonic() + 120
        while True:
            try:
                assert answer(f"{api}/health")[0] == 200
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < end, (tmp_path / "log").read_text()
                time.sleep(0.3)
        _, headers = answer(f"{api}/health", Origin="http://evil.example")
        assert "access-control-allow-origin" not in {name.lower() for name in headers}
        _, headers = answer(f"{api}/health", Origin=f"http://127.0.0.1:{port}")
        allowed = {name.lower(): value for name, value in headers.items()}["access-control-allow-origin"]
        assert allowed == f"http://127.0.0.1:{port}"
        flow = json.dumps({"name": "planted"}).encode()
        simple = {"Content_Type": "text/plain", "Origin": "http://evil.example"}  # a browser sends it without asking
        assert answer(f"{api}/flows/", "POST", flow, **simple)[0] == 403
        assert answer(f"{api}/flows/", "POST", flow, Content_Type="application/json")[0] == 403
        client = (
            "from prefect.client.orchestration import get_client as c; c(sync_client=True).create_flow_from_name('own')"
        )
        environment = {**environment, "PREFECT_API_URL": api}
        done = subprocess.run(
            [sys.executable, "-c", client], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr  # Prefect's own client is let in
    finally:
        process.terminate()
        process.wait(60)


def test_a_port_in_use_is_named_with_the_option_that_changes_it() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=f"port {port} is in use; .*--mlflow-port"):
            check_ports({"--mlflow-port": port})


@pytest.mark.parametrize("port", [-1, 0, 65536, 70000])
def test_what_is_no_port_is_refused(port: int) -> None:
    with pytest.raises(PortTaken, match="--prefect-port"):
        check_ports({"--prefect-port": port})


def test_two_servers_on_one_port_are_refused() -> None:
    port = free_port()
    with pytest.raises(PortTaken, match=rf"--prefect-port and --mlflow-port are both {port}"):
        check_ports({"--prefect-port": port, "--studio-port": free_port(), "--mlflow-port": port})


@pytest.mark.parametrize(
    ("number", "words"), [(errno.EACCES, "may not be opened by this user"), (errno.EADDRNOTAVAIL, "cannot be opened")]
)
def test_a_port_that_may_not_be_opened_is_not_called_in_use(
    monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    class Probe(socket.socket):
        def bind(self, _: object) -> None:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr("pipeline.servers.start_commands.socket.socket", Probe)
    with pytest.raises(PortTaken, match=words) as told:
        check_ports({"--port": 80})
    assert "in use" not in str(told.value)


def test_the_database_address_is_on_no_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "execv", lambda _, arguments: started.append(arguments))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'secret.db'}")
    serve.mlflow(free_port())
    assert started and not any("secret.db" in argument for argument in started[0])
    assert os.environ["MLFLOW_BACKEND_STORE_URI"].endswith("secret.db")
    monkeypatch.delenv("MLFLOW_BACKEND_STORE_URI")


def test_a_new_password_reaches_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore()
    store.init_db(f"sqlite:///{tmp_path / 'mlflow-auth.db'}")
    store.create_user("dreamtrace", "the first password", is_admin=True)
    monkeypatch.setenv(PASSWORD, "the-second-password")
    assert "the-second-password" not in open_access(tmp_path, with_auth=True).notice
    assert store.authenticate_user("dreamtrace", "the-second-password")
    assert not store.authenticate_user("dreamtrace", "the first password")


def test_no_password_is_said_loudly(tmp_path: Path) -> None:
    assert open_access(tmp_path, with_auth=False).notice.startswith("NO PASSWORD")
