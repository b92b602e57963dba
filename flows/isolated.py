"""The main job in a workspace of its own: what a deployment runs, so that many can run at once on one host."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from flows.fine_tune import fine_tune
from pipeline.registry.store import ARTIFACTS, tracking_uri
from pipeline.repro import fetch_data
from pipeline.workspaces import RUNS, keep_results, open_workspace


class ResultsNotSafe(RuntimeError):
    """The run is finished and registered, but its files are in its workspace alone."""


@flow(name="fine-tune-isolated", flow_run_name="{name}")
def fine_tune_isolated(
    name: str = "",
    source: Path = Path(),
    commit: str = "HEAD",
    overrides: dict[str, Any] | None = None,
    runs: Path | None = None,
) -> dict[str, Any]:
    """Clone the repository, fine-tune there, and bring the results back; returns what `register` wrote.

    A run that failed leaves its workspace; its log says where. One that finished is pushed to the DVC remote
    and saved as an experiment of the repository (`dvc exp show`), whatever becomes of the folder.

    Args:
        name: of the workspace and the experiment; empty: that of the flow run.
        source: the repository with the photos and dvc.yaml.
        commit: what to run.
        overrides: parameters that differ from the commit's, by dotted name: {"train.steps": 400}.
        runs: folder of the workspaces; default: .dreamtrace/runs in the repository.
    """
    source = source.resolve()
    named = name or f"run-{str(flow_run.get_id() or 'alone')[:8]}"
    workspace = open_workspace(source, runs or source / RUNS, named, commit, overrides)
    get_run_logger().info(f"workspace {workspace}")
    with registry_of(source):
        fetch_data(workspace)
        registration = fine_tune(workspace)
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


@task(cache_policy=NO_CACHE, task_run_name="keep results", retries=2, retry_delay_seconds=[10, 60])
def keep(workspace: Path) -> None:
    """Push and save; tried three times.

    Raises:
        ResultsNotSafe: a step failed; the workspace stays until `dreamtrace runs clean` finds it safe.
    """
    problems = keep_results(workspace).problems
    if problems:
        raise ResultsNotSafe(f"the results are in {workspace} alone: " + "; ".join(problems))
