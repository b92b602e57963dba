"""The rows of a run as JSON lines, to be followed with `tail -f`."""

import json
import os
from pathlib import Path
from typing import Any

from pipeline.files import write_jsonl


def read_journal(path: Path) -> list[Any]:
    """The head of a journal and its rows, but for a last line that was cut off, by a full disk or a kill, or that is
    being written just now.

    Raises:
        OSError: it is missing or cannot be read.
        ValueError: another line is no JSON.
    """
    lines = [line for line in path.read_text(encoding="utf-8", errors="replace").split("\n") if line.strip()]
    rows = [json.loads(line) for line in lines[:-1]]
    try:
        return [*rows, *(json.loads(line) for line in lines[-1:])]
    except ValueError:
        return rows


class Journal:
    """A file whose first line, `head`, identifies the run; a resumed run keeps the lines of its earlier steps."""

    def __init__(self, path: Path, head: dict[str, Any]):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lines = read_journal(path)
        except (OSError, ValueError):
            lines = []
        self.rows: list[dict[str, float]] = lines[1:] if lines[:1] == [head] else []
        self.head, self.begun = head, False

    def write(self, row: dict[str, float]) -> None:
        """Append a row and flush it to disk; the first call drops rows of steps that are trained again.

        Raises:
            OSError: the disk refused the row; the next call writes it too, and the whole file anew.
        """
        if not self.begun:
            self.rows = [old for old in self.rows if old["step"] < row["step"]]
        self.rows.append(row)
        appends, self.begun = self.begun, False
        if appends:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
                file.flush()
                os.fsync(file.fileno())
        else:
            write_jsonl(self.path, [self.head, *self.rows])
        self.begun = True
