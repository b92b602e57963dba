"""Training runs in MLflow: opened, and rebuilt from the files where the store has lost them."""

import getpass
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import __version__
from pipeline.params import Params, dump_params, flat_params
from pipeline.registry.run_note import run_note
from pipeline.registry.store import StoreError, connect, experiment_id

if TYPE_CHECKING:
    from mlflow import MlflowClient

NOTE = "mlflow.note.content"  # MLflow shows this tag as the description of a run
CHUNK = 500  # metrics in one request; MLflow takes at most 1,000


def start_run(
    workspace: Path, params: Params, run_id: str | None, dataset_md5: str | None, name: str
) -> tuple["MlflowClient", str]:
    """A new run with parameters, dataset and tags, or `run_id` where the store has it.

    Raises:
        StoreError: the store does not answer, or the experiment is in its trash.
    """
    client = connect(workspace)
    if run_id is not None and _exists(client, run_id):
        client.update_run(run_id, status="RUNNING")
        return client, run_id
    experiment = experiment_id(client, params.register_.experiment, workspace)
    run = client.create_run(experiment, run_name=name)
    _describe(client, run.info.run_id, params, dataset_md5)
    return client, run.info.run_id


def ensure_run(
    workspace: Path,
    params: Params,
    run: dict[str, Any],
    rows: list[dict[str, float]],
    dataset_md5: str | None,
    name: str,
) -> str:
    """The id of the run that trained a model; rebuilt from the files where the tracking store lacks it.

    A rebuilt run has another id; the tag `original_run_id` keeps the first one, by which it is found again. It is set
    last: one that was cut off before is not found, and another one is made.
    """
    client = connect(workspace)
    run_id = str(run["run_id"])
    experiment = experiment_id(client, params.register_.experiment, workspace)
    if not _exists(client, run_id):
        rebuilt = client.search_runs([experiment], f"tags.original_run_id = '{run_id}'", max_results=1)
        if rebuilt:
            run_id = rebuilt[0].info.run_id
        else:
            fresh = client.create_run(experiment, run_name=name)
            _describe(client, fresh.info.run_id, params, dataset_md5)
            client.set_tag(fresh.info.run_id, "original_run_id", run_id)
            run_id = fresh.info.run_id
    known = {metric.step for metric in client.get_metric_history(run_id, "loss")}
    log_rows(client, run_id, [row for row in rows if int(row["step"]) not in known])
    client.set_terminated(run_id, "FINISHED")
    return run_id


def log_rows(client: "MlflowClient", run_id: str, rows: list[dict[str, float]]) -> None:
    """Rows of the curve as MLflow metrics; `step` is their step."""
    now = int(time.time() * 1000)
    log_stamped(client, run_id, [(now, row) for row in rows])


def log_stamped(client: "MlflowClient", run_id: str, rows: list[tuple[int, dict[str, float]]]) -> None:
    """The same with the time of each row in milliseconds: sent twice, it is there once.

    The figures of a row go together: a row whose `loss` is there is not sent again.
    """
    from mlflow.entities import Metric

    waiting: list[Metric] = []
    for at, row in rows:
        found = [Metric(name, float(value), at, int(row["step"])) for name, value in row.items() if name != "step"]
        if len(waiting) + len(found) > CHUNK:
            client.log_batch(run_id, metrics=waiting)
            waiting = []
        waiting += found
    if waiting:
        client.log_batch(run_id, metrics=waiting)


def _describe(client: "MlflowClient", run_id: str, params: Params, dataset_md5: str | None) -> None:
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.entities import DatasetInput, InputTag, Param

    values = flat_params(dump_params(params))
    client.log_batch(run_id, params=[Param(name, value[:6000]) for name, value in values.items()])
    client.set_tag(run_id, "subject", params.subject.name)
    client.set_tag(run_id, NOTE, run_note(params))
    client.set_tag(run_id, "mlflow.source.name", f"dreamtrace {__version__}")
    with suppress(OSError, KeyError):  # a container may run as nobody that has a name
        client.set_tag(run_id, "mlflow.user", getpass.getuser())
    if dataset_md5 is not None:
        dataset = MetaDataset(_source(), name=params.subject.name, digest=dataset_md5)
        client.log_inputs(
            run_id, [DatasetInput(dataset._to_mlflow_entity(), [InputTag("mlflow.data.context", "training")])]
        )


def _source() -> Any:
    from mlflow.data.code_dataset_source import CodeDatasetSource

    return CodeDatasetSource(tags={"path": "data", "tracked_by": "data.dvc"})


def check_kept(client: "MlflowClient", run_id: str, what: str) -> None:
    """Refuse to go on where the run of a registered version takes nothing any more.

    Raises:
        StoreError: the run was deleted, and how to bring it back; or it was removed for good.
    """
    from mlflow.exceptions import MlflowException

    try:
        stage = client.get_run(run_id).info.lifecycle_stage
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise StoreError(
            f"the run {run_id} of {what} was removed from MLflow for good, so its verdict cannot be renewed; delete "
            "that version in MLflow, and `dvc repro` registers its content again"
        ) from None
    if stage == "deleted":
        raise StoreError(
            f"the run {run_id} of {what} was deleted in MLflow; bring it back with "
            f"`mlflow runs restore --run-id {run_id}`"
        )


def _exists(client: "MlflowClient", run_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id).info.lifecycle_stage == "active"
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
