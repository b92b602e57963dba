"""What people preferred, as pages show it."""

from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.registry.blind_choices import tallies


def shown_tallies(workspace: Path, reference: str) -> tuple[list[dict[str, Any]], str]:
    """The tallies of a version, and what keeps them from being read."""
    try:
        return [one.as_json() for one in tallies(workspace, reference)], ""
    except UserError as error:
        return [], str(error)
