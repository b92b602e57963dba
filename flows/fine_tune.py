"""The main job: photos in, a judged and registered model out."""

from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from flows.stage_task import run_stage
from pipeline.files import read_json
from pipeline.layout import DATA_DVC, EVALUATION, PARAMS, REGISTRATION, REPORT_PAGE
from pipeline.params import load_params
from pipeline.registry.lookup import is_registered

STAGES = ("prepare", "prior", "train", "select", "sample", "evaluate", "register")


@flow(name="fine-tune", flow_run_name="{workspace.name}")
def fine_tune(workspace: Path = Path()) -> dict[str, Any]:
    """Bring all stages of a workspace up to date and return what `register` wrote.

    Args:
        workspace: folder with dvc.yaml, params.yaml and the photos.
    """
    load_params(workspace / PARAMS)
    if (workspace / DATA_DVC).is_file():
        run_stage(str(DATA_DVC), workspace)  # photos that were changed get their new digest before they are used
    for stage in STAGES:
        run_stage(stage, workspace)
    registration = confirm_registration(workspace)
    create_markdown_artifact(_summary(workspace, registration), key="fine-tune", description="what came out")
    return registration


@task(cache_policy=NO_CACHE, task_run_name="confirm")
def confirm_registration(workspace: Path) -> dict[str, Any]:
    """The registration, from the registry itself: one that was wiped since the stage ran gets the version again."""
    if not is_registered(workspace, read_json(workspace / REGISTRATION)):
        run_stage("register", workspace, force=True)
    return read_json(workspace / REGISTRATION)


def _summary(workspace: Path, registration: dict[str, Any]) -> str:
    summary = read_json(workspace / EVALUATION)["verdict"]["sentence"]
    return (
        f"## {registration['model']} version {registration['version']} ({registration['alias']})\n\n{summary}\n\n"
        f"- content digest `{registration['content_digest']}`\n- MLflow run `{registration['run_id']}`\n"
        f"- report `{REPORT_PAGE}` in the workspace"
    )


if __name__ == "__main__":
    fine_tune()
