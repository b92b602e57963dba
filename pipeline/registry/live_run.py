"""A run that is being trained, in MLflow: training never waits for the store, and nothing is lost while it is away."""

import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import counted
from pipeline.files import digest_value
from pipeline.layout import PREVIEWS
from pipeline.params import Params, Preview
from pipeline.registry.mlflow_runs import log_stamped, start_run

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from PIL.Image import Image

PREVIEW = "preview"  # begins the key of a sheet of previews
FLUSH_SECONDS = 2.0
GOODBYE_SECONDS = 30.0
IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


def asked_digest(prompts: Sequence[str], seed: int) -> str:
    """What names that which a sheet of previews was drawn for: 16 letters that end its key among the run's images."""
    return digest_value({"prompts": list(prompts), "seed": seed})[:16]


def asked_file(digest: str) -> str:
    """Where among a run's artifacts that of this digest is: a JSON object with the list `prompts` and the `seed`.

    Files of older versions hold the prompts alone.
    """
    return f"previews/{digest}.json"


class LiveRun:
    """Rows and pictures go to the store from a thread of their own; what it did not take is tried again.

    A training that goes on may have other preview prompts, or another seed, than it had begun with: each sheet of
    previews names its own.
    """

    def __init__(self, client: "MlflowClient", run_id: str, preview: Preview):
        self.client, self.run_id, self.preview = client, run_id, preview
        self.told = False  # what the previews are drawn for, to the store
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

    def _send(self) -> None:
        """One attempt at all that is waiting; what the store did not take waits for the next one.

        Pictures may lie elsewhere than the curve, in stores whose errors are of many kinds.
        """
        for send in (self._send_rows, self._send_pictures):
            with suppress(Exception):
                send()

    def _send_rows(self) -> None:
        if rows := list(self.rows):
            log_stamped(self.client, self.run_id, rows)
            del self.rows[: len(rows)]

    def _send_pictures(self) -> None:
        prompts, seed = self.preview.prompts, self.preview.seed
        digest = asked_digest(prompts, seed)
        if self.pictures and not self.told:
            self.client.log_dict(self.run_id, {"prompts": prompts, "seed": seed}, asked_file(digest))
            self.told = True
        while self.pictures:
            step, picture = self.pictures[0]
            self.client.log_image(self.run_id, picture, key=f"{PREVIEW}-{digest}", step=step, synchronous=True)
            del self.pictures[0]


def open_run(workspace: Path, params: Params, run_id: str | None, dataset_md5: str | None, name: str) -> LiveRun:
    """Start a run, or go on with `run_id` where the store has it.

    Raises:
        StoreError: the store does not answer, or the experiment is in its trash.
    """
    for variable, value in IMPATIENT.items():
        os.environ.setdefault(variable, value)
    return LiveRun(*start_run(workspace, params, run_id, dataset_md5, name), params.preview)
