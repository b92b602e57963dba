"""How the servers are started: on the loopback interface, with secrets in the environment only."""

import errno
import socket
import sys
from pathlib import Path

from pipeline.errors import UserError

HOST = "127.0.0.1"
LEASES = "prefect.server.concurrency.lease_storage.filesystem"  # those in memory are lost when the server restarts


class PortTaken(UserError):
    """A server cannot have a port: another one has it, or it is none that this user may open."""


def program(name: str) -> str:
    """The path of a program that is installed with this Python."""
    return str(Path(sys.executable).parent / name)


def mlflow_server(port: int, with_auth: bool) -> list[str]:
    """MLflow with the stores of MLFLOW_BACKEND_STORE_URI and MLFLOW_ARTIFACTS_DESTINATION; it passes files through."""
    command = [program("mlflow"), "server", "--host", HOST, "--port", str(port), "--workers", "2"]
    command += ["--serve-artifacts", "--default-artifact-root", "mlflow-artifacts:/"]
    return [*command, "--app-name", "basic-auth"] if with_auth else command


def studio_server(port: int, with_auth: bool) -> list[str]:
    """The studio of the workspace that it is started in; with a password, that of DREAMTRACE_PASSWORD."""
    command = [sys.executable, "-m", "pipeline.commands.app", "studio", "--port", str(port)]
    return [*command, "--auth" if with_auth else "--no-auth"]


def page_environment(port: int) -> dict[str, str]:
    """Prefect's page and its server: the page asks this port, and the server answers no page of another origin.

    Prefect's API starts processes. By default it answers every web page that the browser on this machine has open.
    """
    origins = ",".join(f"http://{name}:{port}" for name in (HOST, "localhost"))
    return {
        "PREFECT_SERVER_UI_API_URL": f"http://{HOST}:{port}/api",
        "PREFECT_UI_URL": f"http://{HOST}:{port}",  # of the links in what a webhook is told
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": origins,
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
    }


def check_ports(ports: dict[str, int]) -> None:
    """Refuse ports that are no ports, are in use, or are given twice; `ports` are named by the option that sets them.

    Raises:
        PortTaken: another program listens on one of them, this user may not open it, or two servers would share it.
    """
    given: dict[int, str] = {}
    for option, port in ports.items():
        if not 1 <= port <= 65535:
            raise PortTaken(f"{option} is {port}: choose a port from 1 to 65535")
        if port in given:
            raise PortTaken(f"{given[port]} and {option} are both {port}: choose another port for one of them")
        given[port] = option
    for option, port in ports.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except PermissionError:
                raise PortTaken(
                    f"port {port} may not be opened by this user; choose one from 1024 on: {option}"
                ) from None
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise PortTaken(
                        f"port {port} cannot be opened: {error.strerror}; choose another: {option}"
                    ) from None
                raise PortTaken(
                    f"port {port} is in use; stop the program that listens there, or choose another port: {option}"
                ) from None


def prefect_server(port: int) -> list[str]:
    """Prefect with the database of PREFECT_SERVER_DATABASE_CONNECTION_URL, by default the user's SQLite file."""
    return [program("prefect"), "server", "start", "--host", HOST, "--port", str(port)]
