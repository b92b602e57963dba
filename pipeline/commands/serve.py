"""`dreamtrace up`, `deploy`, `ui`: servers, workers and deployments."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.errors import CommandError


def up(
    auth: Annotated[bool, typer.Option("--auth", help="a password in front of both pages")] = False,
    prefect_port: Annotated[int, typer.Option(help="of Prefect's page and API")] = 4200,
    mlflow_port: Annotated[int, typer.Option(help="of MLflow's page and API")] = 5000,
) -> None:
    """Start MLflow, Prefect and the workers of this machine; Ctrl-C takes all of it down."""
    from pipeline.servers.up import run_up

    run_up(Path(), prefect_port, mlflow_port, auth)


def deploy(
    slot: Annotated[
        list[str] | None, typer.Option(help="a device that holds one training at a time, such as HOST-gpu-0")
    ] = None,
) -> None:
    """Make work pools, deployments and the crash automation on the server of PREFECT_API_URL."""
    from pipeline.servers.deployments import deploy as deploy_all

    print(f"prefect.yaml is deployed; {deploy_all(Path(), {}, slot or [])}")


def mlflow(port: int = 5000) -> None:
    """MLflow: runs, curves, registered models. Stops with Ctrl-C."""
    from pipeline.registry.store import connect, tracking_uri

    connect(Path())  # sets a new database up, and refuses one that does not answer
    arguments = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    _replace_process("mlflow", [*arguments, "--backend-store-uri", tracking_uri(Path())])


def prefect(port: int = 4200) -> None:
    """Prefect: flow runs and their stages. Stops with Ctrl-C."""
    from pipeline.servers.start_commands import page_environment, prefect_server

    os.environ.update(page_environment(port))
    _replace_process("prefect", prefect_server(port)[1:])


def _replace_process(tool: str, arguments: list[str]) -> None:
    program = Path(sys.executable).parent / tool
    if not program.is_file():
        raise CommandError(f"{program} is not installed; `make setup` installs it")
    sys.stdout.flush()
    os.execv(program, [str(program), *arguments])
