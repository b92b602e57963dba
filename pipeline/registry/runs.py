"""Training runs in MLflow: live while training, and rebuilt from the files where the store has lost them."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.params import Params, dump_params, flat_params
from pipeline.registry.store import connect, experiment_id

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from PIL.Image import Image

CHUNK = 500  # metrics in one request; MLflow takes at most 1,000
FLUSH_SECONDS = 2.0


@dataclass
class LiveRun:
    """A run that is being trained. Rows that could not be delivered are kept and tried again with later ones."""

    client: "MlflowClient"
    run_id: str
    pending: list[dict[str, float]] = field(default_factory=list)
    tried: float = 0.0

    def log(self, row: dict[str, float]) -> None:
        """Send a row of the curve; a store that fails holds up nothing."""
        self.pending.append(row)
        if time.monotonic() - self.tried >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> bool:
        """Send what is pending; False where the store did not take it."""
        from mlflow.exceptions import MlflowException

        self.tried = time.monotonic()
        try:
            log_rows(self.client, self.run_id, self.pending)
        except (MlflowException, OSError):
            return False
        self.pending = []
        return True

    def show(self, picture: "Image", step: int) -> None:
        """Add a preview to the run's pictures; a store that fails holds up nothing."""
        from mlflow.exceptions import MlflowException

        try:
            self.client.log_image(self.run_id, picture, key="preview", step=step, synchronous=True)
        except (MlflowException, OSError):
            print(f"MLflow did not take the preview of step {step}")

    def finish(self, status: str) -> None:
        """Send the rest and close the run; `register` completes what could not be sent."""
        from mlflow.exceptions import MlflowException

        complete = self.flush()
        try:
            self.client.set_terminated(self.run_id, status)
        except (MlflowException, OSError):
            complete = False
        if not complete:
            print("MLflow did not take the whole curve; the stage `register` completes it from the files")


def open_run(workspace: Path, params: Params, run_id: str | None, dataset_md5: str | None, name: str) -> LiveRun:
    """Start a run, or go on with `run_id` where the store has it: parameters, the dataset, tags.

    Raises:
        StoreError: the store does not answer, or the experiment is in its trash.
    """
    client = connect(workspace)
    if run_id is not None and _exists(client, run_id):
        client.update_run(run_id, status="RUNNING")
        return LiveRun(client, run_id)
    experiment = experiment_id(client, params.register_.experiment, workspace)
    run = client.create_run(experiment, run_name=name)
    _describe(client, run.info.run_id, params, dataset_md5)
    return LiveRun(client, run.info.run_id)


def ensure_run(
    workspace: Path,
    params: Params,
    run: dict[str, Any],
    rows: list[dict[str, float]],
    dataset_md5: str | None,
    name: str,
) -> str:
    """The id of the run that trained a model; rebuilt from the files where the tracking store lacks it.

    A rebuilt run has another id; the tag `original_run_id` keeps the first one, by which it is found again.
    """
    client = connect(workspace)
    run_id = str(run["run_id"])
    experiment = experiment_id(client, params.register_.experiment, workspace)
    if not _exists(client, run_id):
        rebuilt = client.search_runs([experiment], f"tags.original_run_id = '{run_id}'", max_results=1)
        if rebuilt:
            run_id = rebuilt[0].info.run_id
        else:
            fresh = client.create_run(experiment, run_name=name, tags={"original_run_id": run_id})
            run_id = fresh.info.run_id
            _describe(client, run_id, params, dataset_md5)
    known = len(client.get_metric_history(run_id, "loss"))
    if known < len(rows):
        log_rows(client, run_id, rows)
    client.set_terminated(run_id, "FINISHED")
    return run_id


def log_rows(client: "MlflowClient", run_id: str, rows: list[dict[str, float]]) -> None:
    """Rows of the curve as MLflow metrics; `step` is their step."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    metrics = [
        Metric(name, float(value), now, int(row["step"]))
        for row in rows
        for name, value in row.items()
        if name != "step"
    ]
    for at in range(0, len(metrics), CHUNK):
        client.log_batch(run_id, metrics=metrics[at : at + CHUNK])


def _describe(client: "MlflowClient", run_id: str, params: Params, dataset_md5: str | None) -> None:
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.entities import DatasetInput, InputTag, Param

    values = flat_params(dump_params(params))
    client.log_batch(run_id, params=[Param(name, value[:6000]) for name, value in values.items()])
    client.set_tag(run_id, "subject", params.subject.name)
    if dataset_md5 is not None:
        dataset = MetaDataset(_source(), name=params.subject.name, digest=dataset_md5)
        client.log_inputs(
            run_id, [DatasetInput(dataset._to_mlflow_entity(), [InputTag("mlflow.data.context", "training")])]
        )


def _source() -> Any:
    from mlflow.data.code_dataset_source import CodeDatasetSource

    return CodeDatasetSource(tags={"path": "data", "tracked_by": "data.dvc"})


def _exists(client: "MlflowClient", run_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id).info.lifecycle_stage == "active"
    except MlflowException:
        return False
