"""The stages of a workspace in their order, each a task; what came out stands on the page of the flow run."""

from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from flows.artifacts import show_parameters, show_results
from flows.stage_task import run_stage
from pipeline.files import read_json
from pipeline.layout import DATA_DVC, PARAMS, REGISTRATION
from pipeline.params import load_params
from pipeline.registry.lookup import is_registered

STAGES = ("inputs", "prepare", "prior", "train", "select", "tune", "sample", "evaluate", "register")


def bring_up_to_date(workspace: Path) -> dict[str, Any]:
    """Run what has to be run; returns what `register` wrote.

    Raises:
        ParamsError: params.yaml cannot be used.
        StageFailed: a stage ended with an error.
    """
    show_parameters(load_params(workspace / PARAMS))
    if (workspace / DATA_DVC).is_file():
        run_stage(str(DATA_DVC), workspace)  # photos that were changed get their new digest before they are used
    for stage in STAGES:
        run_stage(stage, workspace)
    registration = confirm_registration(workspace)
    show_results(workspace, registration)
    return registration


@task(cache_policy=NO_CACHE, task_run_name="confirm")
def confirm_registration(workspace: Path) -> dict[str, Any]:
    """The registration, from the registry itself: one that was wiped since the stage ran gets the version again."""
    if not is_registered(workspace, read_json(workspace / REGISTRATION)):
        run_stage("register", workspace, force=True)
    return read_json(workspace / REGISTRATION)
