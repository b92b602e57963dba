"""The rows of a run as JSON lines, for whoever follows it with `tail -f`."""

import json
from pathlib import Path
from typing import Any

from pipeline.files import read_jsonl, write_jsonl


class Journal:
    """A file whose first line tells which run it follows; a run that goes on takes its earlier lines up."""

    def __init__(self, path: Path, head: dict[str, Any]):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lines = read_jsonl(path)
        except (OSError, ValueError):
            lines = []
        self.rows: list[dict[str, float]] = lines[1:] if lines[:1] == [head] else []
        self.head, self.begun = head, False

    def write(self, row: dict[str, float]) -> None:
        """Append a row; the first one drops those of steps that are done again."""
        if not self.begun:
            self.rows = [old for old in self.rows if old["step"] < row["step"]]
            write_jsonl(self.path, [self.head, *self.rows])
            self.begun = True
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
