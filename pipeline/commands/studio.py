"""`dreamtrace studio`: the pages for people who train a model."""

import os
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.errors import CommandError


def studio(
    port: Annotated[int, typer.Option(help="of the pages")] = 8100,
    auth: Annotated[bool, typer.Option("--auth/--no-auth", help="a password")] = True,
) -> None:
    """Pages for photos, runs, pictures, verdict and models on this machine; Ctrl-C stops them and their runs."""
    from pipeline.servers.authentication import USER, password_of
    from pipeline.servers.start_commands import HOST, check_ports
    from pipeline.servers.up import LOGS

    workspace = Path().resolve()
    if not (workspace / "dvc.yaml").is_file():
        raise CommandError(f"{workspace} has no dvc.yaml: run this in the repository of dreamtrace")
    check_ports({"--port": port})
    password, where = password_of(workspace / LOGS) if auth else (None, "")
    if auth:
        print(f"user {USER}, password {where}")
    else:
        print("NO PASSWORD: every user and program of this machine can start runs and move champions here")
    print(f"studio  http://{HOST}:{port}   Ctrl-C stops it; a run that it started saves its state first", flush=True)
    _serve(workspace, password, port)


def _serve(workspace: Path, password: str | None, port: int) -> None:
    import uvicorn

    from pipeline.servers.start_commands import HOST
    from pipeline.studio.application import make_studio

    os.environ.pop("DREAMTRACE_PASSWORD", None)  # not for the runs that it starts
    app = make_studio(workspace, password)
    uvicorn.run(app, host=HOST, port=port, log_level="warning", server_header=False, timeout_graceful_shutdown=5)
