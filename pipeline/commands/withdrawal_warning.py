"""The warning of commands that do their work with a withdrawn model all the same."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import first_line

if TYPE_CHECKING:
    from pipeline.registry.found import Found


def warn_of_withdrawal(workspace: Path, found: "Found") -> None:
    """Say on standard error that a model is withdrawn, or that nobody can tell now; nothing is refused."""
    from pipeline.registry.recipe_models import withdrawal_of
    from pipeline.registry.store import told

    try:
        why = withdrawal_of(workspace, found)
    except Exception as error:
        known = told(error)
        if known is None:
            raise
        print(f"warning: whether {found.title} is withdrawn is unknown: {first_line(known)}", file=sys.stderr)
        return
    if why is not None:
        print(f"warning: {found.title} is withdrawn: {why}", file=sys.stderr)
