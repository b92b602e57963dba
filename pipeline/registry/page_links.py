"""Addresses of MLflow's pages, for people who look at a run elsewhere."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import UserError
from pipeline.layout import PARAMS
from pipeline.network.reachable import shown
from pipeline.params import load_params
from pipeline.registry.store import connect, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

TRAININGS = "?workflowType=machine_learning"  # without it MLflow shows its pages about language models


def page_of(workspace: Path) -> str | None:
    """Address of MLflow's pages: DREAMTRACE_MLFLOW_PAGE, or the tracking server; None for a database."""
    uri = os.environ.get("DREAMTRACE_MLFLOW_PAGE") or shown(tracking_uri(workspace))
    return uri.rstrip("/") if uri.startswith(("http://", "https://")) else None


def run_page(workspace: Path, run_id: str) -> str | None:
    """The page of a run; None where MLflow has none."""
    page = page_of(workspace)
    if page is None:
        return None
    experiment = connect(workspace).get_run(run_id).info.experiment_id
    return f"{page}/#/experiments/{experiment}/runs/{run_id}{TRAININGS}"


def version_page(workspace: Path, model: str, version: str) -> str | None:
    """The page of a registered version; None where MLflow has none."""
    page = page_of(workspace)
    return None if page is None else f"{page}/#/models/{model}/versions/{version}{TRAININGS}"


def report_page(run_page: str, content_digest: str) -> str:
    """The report of a model in the artifacts of its run, where the stage `register` puts it."""
    return f"{run_page.removesuffix(TRAININGS)}/artifacts/report/{content_digest[:16]}/index.html{TRAININGS}"


def trainings_page(workspace: Path, client: "MlflowClient", page: str) -> str:
    """The page of the workspace's trainings below MLflow's own; of all experiments where there is none yet."""
    try:
        experiment = client.get_experiment_by_name(load_params(workspace / PARAMS).register_.experiment)
    except UserError:
        experiment = None
    return f"{page}/#/experiments{f'/{experiment.experiment_id}/runs' if experiment else ''}{TRAININGS}"
