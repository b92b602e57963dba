"""How far a training is, on Prefect's page: a bar, and a line in the log now and then."""

import contextlib
import time
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact

from pipeline.files import read_jsonl
from pipeline.layout import JOURNAL, PARAMS
from pipeline.params import load_params

LINE_S = 30.0


class Progress:
    """Reads the rows that the training writes; nothing that fails here holds it up."""

    def __init__(self, workspace: Path):
        self.journal = workspace / JOURNAL
        self.steps = load_params(workspace / PARAMS).train.steps
        self.begun = time.time()
        self.said, self.step = 0.0, -1.0
        self.artifact: UUID | None = None

    def show(self) -> None:
        """Bring page and log up to the last row."""
        with contextlib.suppress(Exception):  # a server that is away, a row that is half written
            row = self._row()
            if row is None or row["step"] <= self.step:
                return
            self._draw(row)
            self.step = row["step"]
            if time.monotonic() - self.said >= LINE_S:
                self.said = time.monotonic()
                get_run_logger().info(sentence(row, self.steps))

    def _row(self) -> dict[str, Any] | None:
        if not self.journal.is_file() or self.journal.stat().st_mtime < self.begun:
            return None
        rows = read_jsonl(self.journal)[1:]
        return rows[-1] if rows else None

    def _draw(self, row: dict[str, Any]) -> None:
        share, words = 100 * row["step"] / self.steps, sentence(row, self.steps)
        if self.artifact is None:
            self.artifact = cast(UUID, create_progress_artifact(share, key="training", description=words))
        else:
            update_progress_artifact(self.artifact, share, words)


def sentence(row: dict[str, Any], steps: int) -> str:
    """A row of the curve in words."""
    said = f"step {int(row['step'])} of {steps}"
    for name, words in (("loss", "loss {:.4f}"), ("images_per_second", "{:.1f} photos a second")):
        if name in row:
            said += ", " + words.format(row[name])
    return said
