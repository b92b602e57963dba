"""A version becomes the champion: examined, compared, asked for where that is wanted, on record, and published."""

from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from pydantic import Field

from pipeline.registry import publication
from pipeline.registry.promotion import Examined, Moved, Refused, examine
from pipeline.registry.promotion import promote as move


class Approval(RunInput):
    """What a person answers in the Prefect UI."""

    promote: bool = Field(False, description="make it the champion?")
    reason: str = Field("", description="kept on record")


@flow(name="promote", flow_run_name="{ref}")
def promote(
    ref: str,
    workspace: Path = Path(),
    by: str = "unknown",
    reason: str = "",
    force: bool = False,
    allow_unclean: bool = False,
    ask: bool = False,
    wait_s: int = 86400,
) -> str:
    """Make a registered version the champion, unless something speaks against it; returns what happened, for a person.

    Args:
        ref: models:/NAME/VERSION or models:/NAME@ALIAS.
        workspace: folder whose git, DVC and MLflow the record is held against.
        by: who promotes.
        reason: why; kept on record.
        force: promote in spite of every objection.
        allow_unclean: accept code with uncommitted changes.
        ask: pause until a person approves in the Prefect UI.
        wait_s: seconds after which an unanswered question ends the run.

    Raises:
        Refused: something speaks against it, or the person said no.
    """
    examined = check(workspace, ref, allow_unclean)
    create_markdown_artifact(summary(examined), key="promotion", description="what speaks for it and against it")
    if ask and (force or not examined.objections):
        answer: Any = pause_flow_run(
            wait_for_input=Approval.with_initial_data(description=summary(examined)), timeout=wait_s
        )
        if not answer.promote:
            raise Refused(f"{examined.model} version {examined.version}: a person said no. {answer.reason}".strip())
        reason = ". ".join(part for part in (reason, answer.reason) if part)
    moved = apply(workspace, examined, by, reason, force)
    sentence = told(examined, moved)
    to = publication.place_of(workspace)
    if to is not None:
        sentence += "\n" + bring(workspace, examined.model, to, by)
    get_run_logger().info(sentence)
    return sentence


@task(cache_policy=NO_CACHE, task_run_name="examine")
def check(workspace: Path, ref: str, allow_unclean: bool) -> Examined:
    """Everything that speaks against it."""
    return examine(workspace, ref, allow_unclean)


@task(cache_policy=NO_CACHE, task_run_name="promote")
def apply(workspace: Path, examined: Examined, by: str, reason: str, force: bool) -> Moved | None:
    """Move the aliases."""
    return move(workspace, examined, by, reason, force)


@task(cache_policy=NO_CACHE, task_run_name="publish")
def bring(workspace: Path, model: str, to: str, by: str) -> str:
    """Bring the champion to S3; the same promotion, run again, finishes what was cut off."""
    return publication.told(publication.publish_champion(workspace, model, to, by), to)


def told(examined: Examined, moved: Moved | None) -> str:
    """What happened, in one sentence."""
    name = f"{examined.model} version {examined.version}"
    if moved is None:
        return f"{name} is the champion already."
    instead = f" instead of version {moved.before}" if moved.before else ""
    return f"{name} is the champion{instead}{', by force' if moved.forced else ''}."


def summary(examined: Examined) -> str:
    """Markdown for the page where a person decides."""
    lines = [f"## {examined.model} version {examined.version}", "", f"Report: `{examined.report}`", ""]
    if examined.champion:
        said = (examined.comparison or {}).get("sentence", "not comparable")
        lines += [f"Against the champion, version {examined.champion}: {said}", ""]
    lines += [f"- {objection}" for objection in examined.objections] or ["Nothing speaks against it."]
    return "\n".join(lines)
