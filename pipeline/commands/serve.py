"""`dreamtrace up`, `deploy`, `ui`: servers, workers and deployments."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.errors import CommandError


def up(
    auth: Annotated[bool, typer.Option("--auth/--no-auth", help="a password for all pages")] = True,
    prefect_port: Annotated[int, typer.Option(help="of Prefect's page and API")] = 4200,
    mlflow_port: Annotated[int, typer.Option(help="of MLflow's page and API")] = 5000,
    notify: Annotated[
        str,
        typer.Option(
            envvar="DREAMTRACE_NOTIFY", help="a webhook that is called when a run ends, fails or waits for a person"
        ),
    ] = "",
    studio_port: Annotated[int, typer.Option(help="of the studio")] = 8100,
) -> None:
    """Start the studio, MLflow, Prefect and the workers of this machine; Ctrl-C takes all of it down."""
    from pipeline.servers.up import Ports, run_up

    run_up(Path(), Ports(prefect_port, mlflow_port, studio_port), auth, notify)


def deploy(
    slot: Annotated[
        list[str] | None, typer.Option(help="a device that holds one training at a time, such as HOST-gpu-0")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="take the place of another repository's deployments")
    ] = False,
) -> None:
    """Make work pools, deployments and the crash automation on the server of PREFECT_API_URL or Prefect's profile."""
    from prefect.settings import get_current_settings

    from pipeline.servers.deployments import deploy as deploy_all
    from pipeline.servers.prefect_for_command import URL, check_api

    address = os.environ.get(URL) or get_current_settings().api.url
    if not address:  # Prefect would start a server for each call, and deploy to a database that no worker asks
        raise CommandError(
            f"no Prefect server is named: set {URL} to its address, such as http://127.0.0.1:4200/api "
            "(`dreamtrace up` starts one, and deploys to it by itself)"
        )
    check_api(address)
    print(f"prefect.yaml is deployed; {deploy_all(Path(), {}, slot or [], replace)}")


def mlflow(port: int = 5000) -> None:
    """MLflow: runs, curves, registered models. Stops with Ctrl-C."""
    from pipeline.registry.page_links import trainings_page
    from pipeline.registry.store import connect, tracking_uri
    from pipeline.servers.start_commands import HOST, check_ports

    check_ports({"--port": port})
    client = connect(Path())  # sets a new database up, and refuses one that does not answer
    print(f"the trainings: {trainings_page(Path(), client, f'http://{HOST}:{port}')}", flush=True)
    os.environ["MLFLOW_BACKEND_STORE_URI"] = tracking_uri(Path())  # it may hold a password: not on a command line
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    _replace_process("mlflow", ["server", "--host", HOST, "--port", str(port), "--workers", "1"])


def prefect(port: int = 4200) -> None:
    """Prefect: flow runs and their stages. Stops with Ctrl-C."""
    from pipeline.servers.prefect_for_command import find_home
    from pipeline.servers.start_commands import check_ports, page_environment, prefect_server

    find_home(Path())
    check_ports({"--port": port})
    os.environ.update(page_environment(port))
    _replace_process("prefect", prefect_server(port)[1:])


def _replace_process(tool: str, arguments: list[str]) -> None:
    program = Path(sys.executable).parent / tool
    if not program.is_file():
        raise CommandError(f"{program} is not installed; `make setup` installs it")
    sys.stdout.flush()
    os.execv(program, [str(program), *arguments])
