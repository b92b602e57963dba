"""Work pools, slots, deployments and the automation that notices dead runs: made where they are missing."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.errors import UserError, no_space
from pipeline.processes import complaint
from pipeline.runs.repository import version_of
from pipeline.servers.start_commands import program


class DeployError(UserError):
    """There is nothing to deploy here, or Prefect's server did not take it."""


def deploy(workspace: Path, environment: Mapping[str, str], slots: Sequence[str] = (), replace: bool = True) -> str:
    """Bring a Prefect server up to date with prefect.yaml; returns what was done, in one line.

    Args:
        environment: PREFECT_API_URL and credentials, where they are not in this process's environment.
        slots: concurrency limits of one slot each, one for every device that computes.
        replace: take the place of what another repository has deployed there.

    Raises:
        DeployError: there is no prefect.yaml here, or the server does not answer, or refuses.
        UserError: the disk is full.
    """
    if not (workspace / "prefect.yaml").is_file():
        raise DeployError(
            f"{workspace.resolve()} has no prefect.yaml: run this in the repository that holds the photos"
        )
    if (full := no_space()) is not None:
        raise full
    given = {**os.environ, **environment, "DREAMTRACE_VERSION": version_of(workspace)}
    given.pop("DREAMTRACE_SOURCE", None)  # each worker's own; Prefect would write this one into the deployments
    command = [sys.executable, "-m", "flows.server_setup", json.dumps(list(slots)), *(["--replace"] if replace else [])]
    said = _run("the work pools", command, workspace, given)
    _run("the deployments", [program("prefect"), "--no-prompt", "deploy", "--all"], workspace, given)
    _run("the forms", [sys.executable, "-m", "flows.deployment_forms"], workspace, given)
    return said.strip().splitlines()[-1]


def _run(what: str, command: list[str], workspace: Path, environment: Mapping[str, str]) -> str:
    done = subprocess.run(command, cwd=workspace, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DeployError(f"Prefect did not take {what}: {complaint(done)}")
    return done.stdout
