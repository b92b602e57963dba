"""The tracking store: MLflow's usual environment variables, or SQLite and a folder in the workspace."""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import NotNow, UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient

DATABASE, ARTIFACTS = "mlflow.db", "mlartifacts"


class StoreError(UserError):
    """The MLflow store holds something else than what is needed."""


class StoreSilent(StoreError, NotNow):
    """The MLflow store does not answer."""


def tracking_uri(workspace: Path) -> str:
    """MLFLOW_TRACKING_URI, or the database inside the workspace."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(workspace / DATABASE).resolve()}"


def connect(workspace: Path) -> "MlflowClient":
    """A client of the tracking store and registry; a new database is set up on the way.

    Raises:
        StoreSilent: the store of MLFLOW_TRACKING_URI does not answer.
    """
    for name in ("alembic", "mlflow.store.db.utils", "mlflow.tracking", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)
    import mlflow
    from mlflow.exceptions import MlflowException

    uri = tracking_uri(workspace)
    given = {name: os.environ.get(name) for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")}
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(given["MLFLOW_REGISTRY_URI"] or uri)
    for name, value in given.items():  # MLflow writes its choice there, where the next workspace would take it for ours
        if value is None:
            os.environ.pop(name, None)
    client = mlflow.MlflowClient()
    try:
        client.search_experiments(max_results=1)
    except MlflowException as error:
        raise StoreSilent(f"the MLflow store at {shown(uri)} does not answer: {str(error).splitlines()[0]}") from None
    return client


def experiment_id(client: "MlflowClient", name: str, workspace: Path) -> str:
    """The experiment called `name`, made where it is missing.

    Raises:
        StoreError: an experiment of that name was deleted and is still in MLflow's trash.
    """
    found = client.get_experiment_by_name(name)
    if found is not None:
        if found.lifecycle_stage == "deleted":
            raise StoreError(
                f"the MLflow experiment '{name}' was deleted; restore it with "
                f"`mlflow experiments restore -x {found.experiment_id}`, or set register.experiment to another name"
            )
        return str(found.experiment_id)
    return client.create_experiment(name, artifact_location=_artifact_root(workspace))


def _artifact_root(workspace: Path) -> str | None:
    """Where a new experiment keeps its files: DREAMTRACE_ARTIFACT_ROOT, or as the server says, or in the workspace."""
    given = os.environ.get("DREAMTRACE_ARTIFACT_ROOT")
    if given:
        return given.rstrip("/")
    served = os.environ.get("MLFLOW_TRACKING_URI", "").startswith(("http://", "https://"))
    return None if served else (workspace / ARTIFACTS).resolve().as_uri()


def shown(uri: str) -> str:
    """A URI without the password that it may carry."""
    scheme, _, rest = uri.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
