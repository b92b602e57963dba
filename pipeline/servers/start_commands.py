"""How the servers are started: on the loopback interface, secrets in the environment alone."""

import sys
from pathlib import Path

HOST = "127.0.0.1"
LEASES = "prefect.server.concurrency.lease_storage.filesystem"  # those in memory are lost when the server restarts


def program(name: str) -> str:
    """The path of a tool that is installed beside this Python."""
    return str(Path(sys.executable).parent / name)


def mlflow_server(port: int, with_auth: bool) -> list[str]:
    """MLflow: stores by MLFLOW_BACKEND_STORE_URI and MLFLOW_ARTIFACTS_DESTINATION; files of clients pass through."""
    command = [program("mlflow"), "server", "--host", HOST, "--port", str(port), "--workers", "2"]
    command += ["--serve-artifacts", "--default-artifact-root", "mlflow-artifacts:/"]
    return [*command, "--app-name", "basic-auth"] if with_auth else command


def page_environment(port: int) -> dict[str, str]:
    """Where Prefect's page finds its server: it asks port 4200 otherwise, whatever port it came from."""
    return {"PREFECT_SERVER_UI_API_URL": f"http://{HOST}:{port}/api"}


def prefect_server(port: int) -> list[str]:
    """Prefect; its database comes by PREFECT_SERVER_DATABASE_CONNECTION_URL, else it is the user's SQLite file."""
    return [program("prefect"), "server", "start", "--host", HOST, "--port", str(port)]
