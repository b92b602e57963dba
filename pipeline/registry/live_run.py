"""A run that is being trained, in MLflow: training never waits for the store, and nothing is lost while it is away."""

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import counted
from pipeline.layout import PREVIEWS
from pipeline.params import Params
from pipeline.registry.mlflow_runs import log_stamped, start_run

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from PIL.Image import Image

FLUSH_SECONDS = 2.0
GOODBYE_SECONDS = 30.0
IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


class LiveRun:
    """Rows and pictures go to the store from a thread of their own; what it did not take is tried again."""

    def __init__(self, client: "MlflowClient", run_id: str):
        self.client, self.run_id = client, run_id
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.pictures: list[tuple[int, Image]] = []
        self.closing = threading.Event()
        self.sender = threading.Thread(target=self._send_all, daemon=True, name="mlflow")
        self.sender.start()

    def log(self, row: dict[str, float]) -> None:
        """A row of the curve."""
        self.rows.append((int(time.time() * 1000), row))

    def show(self, picture: "Image", step: int) -> None:
        """A preview for the run's pictures."""
        self.pictures.append((step, picture))

    def finish(self, status: str) -> None:
        """Send the rest and close the run; `register` completes the curve where not all of it could be sent."""
        from mlflow.exceptions import MlflowException

        self.closing.set()
        self.sender.join(GOODBYE_SECONDS)
        complete = not self.sender.is_alive() and not self.rows
        if self.pictures:
            print(f"MLflow did not take {counted(len(self.pictures), 'preview')}; {PREVIEWS} has them")
        try:
            self.client.set_terminated(self.run_id, status)
        except (MlflowException, OSError):
            complete = False
        if not complete:
            print("MLflow did not take the whole curve; the stage `register` completes it from the files")

    def _send_all(self) -> None:
        while not self.closing.wait(FLUSH_SECONDS):
            self._send()
        self._send()

    def _send(self) -> bool:
        """One attempt at all that is waiting; False where the store did not take it.

        Files may lie elsewhere than the curve, in stores whose errors are of many kinds.
        """
        complete = True
        try:
            if rows := list(self.rows):
                log_stamped(self.client, self.run_id, rows)
                del self.rows[: len(rows)]
        except Exception:
            complete = False
        try:
            while self.pictures:
                step, picture = self.pictures[0]
                self.client.log_image(self.run_id, picture, key="preview", step=step, synchronous=True)
                del self.pictures[0]
        except Exception:
            complete = False
        return complete


def open_run(workspace: Path, params: Params, run_id: str | None, dataset_md5: str | None, name: str) -> LiveRun:
    """Start a run, or go on with `run_id` where the store has it.

    Raises:
        StoreError: the store does not answer, or the experiment is in its trash.
    """
    for variable, value in IMPATIENT.items():
        os.environ.setdefault(variable, value)
    return LiveRun(*start_run(workspace, params, run_id, dataset_md5, name))
