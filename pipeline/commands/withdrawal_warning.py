"""What commands say of a withdrawn model, or withdrawn photos, with which they do their work all the same."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import grouped

if TYPE_CHECKING:
    from pipeline.params import Params
    from pipeline.registry.found import Found


def warn_of_withdrawal(workspace: Path, found: "Found") -> None:
    """Say on standard error that a model is withdrawn, or that nobody can tell now; nothing is refused."""
    why, unknown = withdrawal_state(workspace, found)
    if unknown:
        print(f"warning: whether {found.title} is withdrawn is unknown: {unknown}", file=sys.stderr)
    elif why:
        print(f"warning: {found.title} is withdrawn: {why}", file=sys.stderr)


def warn_of_withdrawn_inputs(workspace: Path, params: "Params", run: Path | None = None) -> None:
    """Say on standard error, as `dreamtrace check` does, which photos of a run were withdrawn, or that its base was;
    nothing is refused.

    Args:
        run: the folder of the run, where it is not the workspace.
    """
    from pipeline.runs.withdrawn_inputs import withdrawn_inputs

    for warning in grouped(withdrawn_inputs(workspace, params, run)):
        print(f"warning: {warning}", file=sys.stderr)


def withdrawal_fact(workspace: Path, found: "Found") -> dict[str, str]:
    """Why a model is withdrawn, or that nobody can tell now, as a fact to be shown with its record; {} where it is not,
    or no registry is here.
    """
    why, unknown = withdrawal_state(workspace, found)
    told = f"unknown: {unknown}" if unknown else why
    return {"withdrawn": told} if told else {}


def withdrawal_state(workspace: Path, found: "Found") -> tuple[str, str]:
    """Why a model is withdrawn, '' where it is not; and why nobody can tell now, '' where the registry answers."""
    from pipeline.registry.answers import answer_or_reason
    from pipeline.registry.withdrawal_state import withdrawal_of

    why, unknown = answer_or_reason(lambda: withdrawal_of(workspace, found))
    return why or "", unknown
