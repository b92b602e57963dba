"""Reading `lineage.json`, the record inside every model folder."""

from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.files import read_json
from pipeline.layout import LINEAGE

FORMAT = 1


class LineageError(UserError):
    """A record is missing or is not one."""


def read_lineage(model: Path) -> dict[str, Any]:
    """The record inside a model folder.

    Raises:
        LineageError: there is none, or it is of another format.
    """
    path = model / LINEAGE
    if not path.is_file():
        raise LineageError(f"{model} holds no {LINEAGE}: it was not made by dreamtrace, or the file was removed")
    try:
        found = read_json(path)
    except ValueError as error:  # not UTF-8, or not JSON
        raise LineageError(f"{path} is not JSON ({error})") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise LineageError(f"{path} is not a record of format {FORMAT}")
    return found
