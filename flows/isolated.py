"""The main job in a workspace of its own: what a deployment runs, so that many can run at once on one host."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from flows.stage_sequence import bring_up_to_date
from pipeline.params import Subject
from pipeline.registry.store import ARTIFACTS, tracking_uri
from pipeline.runs.choices import Choices, ProfileName
from pipeline.runs.workspaces import RUNS, fetch_photos, keep_results, open_workspace


class ResultsNotSafe(RuntimeError):
    """The run is finished and registered, but its files are in its workspace alone."""


def name_of_run() -> str:
    """The name that was chosen, or one of the flow run's own: the same when it is tried again."""
    return str(flow_run.get_parameters().get("name") or f"run-{str(flow_run.get_id() or 'alone')[:8]}")


@flow(name="fine-tune-isolated", flow_run_name=name_of_run)
def fine_tune_isolated(
    subject: Subject | None = None,
    profile: ProfileName | None = None,
    overrides: dict[str, Any] | None = None,
    photos: str = "",
    name: str = "",
    commit: str = "HEAD",
    source: Path = Path(),
    runs: Path | None = None,
) -> dict[str, Any]:
    """Clone the repository, fine-tune there, and bring the results back; returns what `register` wrote.

    A run that failed leaves its workspace; its log says where, and a retry goes on in it. One that finished is pushed
    to the DVC remote and saved as an experiment of the repository (`dvc exp show`), whatever becomes of the folder.

    Args:
        subject: who is learned; none: that of params.yaml.
        profile: a preset instead of params.yaml.
        overrides: parameters by dotted name, such as {"train.steps": 400}.
        photos: folder on the worker's host, or s3://bucket/prefix; empty: the photos of the repository.
        name: of the run, its workspace and its experiment; empty: made up.
        commit: what to run: a commit, branch or tag of the repository.
        source: the repository with dvc.yaml, on the worker's host.
        runs: folder of the workspaces; none: .dreamtrace/runs in the repository.
    """
    source = source.resolve()
    owner = flow_run.get_root_flow_run_id()
    choices = Choices(profile, subject, overrides or {}, photos)
    workspace = open_workspace(source, runs or source / RUNS, name or name_of_run(), commit, choices, owner)
    get_run_logger().info(f"workspace {workspace}")
    with registry_of(source):
        fetch(workspace)
        registration = bring_up_to_date(workspace)
        keep(workspace)
    return registration


@contextmanager
def registry_of(source: Path) -> Iterator[None]:
    """All runs of a repository share its registry, where the environment does not name another one."""
    if os.environ.get("MLFLOW_TRACKING_URI"):
        yield
        return
    given = {"MLFLOW_TRACKING_URI": tracking_uri(source), "DREAMTRACE_ARTIFACT_ROOT": (source / ARTIFACTS).as_uri()}
    os.environ.update(given)
    try:
        yield
    finally:
        for name in given:
            os.environ.pop(name, None)


@task(cache_policy=NO_CACHE, task_run_name="fetch photos")
def fetch(workspace: Path) -> None:
    """The photos, from the shared cache or the DVC remote."""
    fetch_photos(workspace)


@task(cache_policy=NO_CACHE, task_run_name="keep results", retries=3, retry_delay_seconds=[10, 60, 300])
def keep(workspace: Path) -> None:
    """Push and save; tried four times.

    Raises:
        ResultsNotSafe: a step failed; the workspace stays until `dreamtrace runs clean` finds it safe.
    """
    kept = keep_results(workspace)
    if kept.problems:
        raise ResultsNotSafe(f"the results are in {workspace} alone: " + "; ".join(kept.problems))
    if not kept.pushed:
        get_run_logger().warning("nothing was pushed: the DVC remote lies inside the repository; its cache has it all")
