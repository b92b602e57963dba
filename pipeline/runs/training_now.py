"""What the training that is at work has written down."""

from pathlib import Path
from typing import Any

from pipeline.files import read_json
from pipeline.layout import JOURNAL, RUN
from pipeline.training.journal import read_journal


def rows_since(workspace: Path, since: float) -> list[dict[str, Any]]:
    """The rows of the training at work in a workspace, each with its `step`; none where it has written none yet.

    The journal of an earlier training stays there until the next one writes its first row, and that of a finished one
    while its pictures are judged: neither is at work.

    Args:
        since: when the run, or its training, began, in seconds since 1970.
    """
    try:
        if (workspace / JOURNAL).stat().st_mtime < since:
            return []
        head, *rows = read_journal(workspace / JOURNAL)
        return [] if head == _finished(workspace) else [row for row in rows if "step" in row]
    except (OSError, ValueError, TypeError):
        return []


def _finished(workspace: Path) -> Any:
    """What the newest training that has written its results is known by; None where there is none."""
    try:
        return read_json(workspace / RUN)
    except (OSError, ValueError):
        return None
