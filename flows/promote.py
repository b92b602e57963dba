"""Promotion: a version is examined, compared, approved by a person where wanted, recorded and published."""

from pathlib import Path
from typing import Annotated, Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from pydantic import Field, StringConstraints

from pipeline.registry import publication
from pipeline.registry.examination import Examined, Refused, examine
from pipeline.registry.promotion import promote as move_champion
from pipeline.registry.promotion_history import Moved


class Approval(RunInput):
    """The approver's answer in the Prefect UI."""

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=2)] = Field(
        description="who decides; kept on record"
    )
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
    """Make a registered version the champion, unless there are objections; returns the outcome as a sentence.

    Args:
        ref: models:/NAME/VERSION or models:/NAME@ALIAS.
        workspace: folder whose git, DVC and MLflow the record is held against.
        by: who promotes.
        reason: why; kept on record.
        force: override every objection except a withdrawal.
        allow_unclean: accept code with uncommitted changes.
        ask: pause until a person approves in the Prefect UI.
        wait_s: seconds after which an unanswered question ends the run.

    Raises:
        Refused: there are objections, or the approver rejected it.
    """
    examined = examine_version(workspace, ref, allow_unclean)
    create_markdown_artifact(
        summary(examined), key="promotion", description="comparison with the champion, and objections"
    )
    approved_by = None
    if ask and not examined.forbidden and (force or not examined.objections):
        answer: Any = pause_flow_run(
            wait_for_input=Approval.with_initial_data(description=summary(examined)), timeout=wait_s
        )
        if not answer.promote:
            raise Refused(
                f"{examined.model} version {examined.version}: rejected by {answer.name}. {answer.reason}".strip()
            )
        approved_by = answer.name
        reason = ". ".join(part for part in (reason, answer.reason) if part)
    moved = move_aliases(workspace, examined, by, reason, force, allow_unclean, approved_by)
    sentence = outcome(examined, moved)
    to = publication.publish_to(workspace)
    if to is not None:
        sentence += "\n" + publish_champion(workspace, examined.model, to, by)
    get_run_logger().info(sentence)
    return sentence


@task(cache_policy=NO_CACHE, task_run_name="examine")
def examine_version(workspace: Path, ref: str, allow_unclean: bool) -> Examined:
    """Every objection to it."""
    return examine(workspace, ref, allow_unclean)


@task(cache_policy=NO_CACHE, task_run_name="promote")
def move_aliases(
    workspace: Path,
    examined: Examined,
    by: str,
    reason: str,
    force: bool,
    allow_unclean: bool,
    approved_by: str | None,
) -> Moved | None:
    """Examine it again with the lock held, and move the aliases."""
    return move_champion(workspace, examined, by, reason, force, allow_unclean, approved_by)


@task(cache_policy=NO_CACHE, task_run_name="publish")
def publish_champion(workspace: Path, model: str, to: str, by: str) -> str:
    """Upload the champion to S3; the same promotion, run again, finishes what was cut off."""
    return publication.published_sentence(publication.publish_champion(workspace, model, to, by), to)


def outcome(examined: Examined, moved: Moved | None) -> str:
    """The result, in one sentence."""
    name = f"{examined.model} version {examined.version}"
    if moved is None:
        return f"{name} is already the champion."
    instead = f" instead of version {moved.before}" if moved.before else ""
    return f"{name} is the champion{instead}{', by force' if moved.forced else ''}."


def summary(examined: Examined) -> str:
    """Markdown for the page where a person decides."""
    lines = [f"## {examined.model} version {examined.version}", "", f"Report: `{examined.report}`", ""]
    if examined.champion:
        sentence = (examined.comparison or {}).get("sentence", "not comparable")
        lines += [f"Against the champion, version {examined.champion}: {sentence}", ""]
    lines += [f"- {line}" for line in (*examined.forbidden, *examined.objections)] or ["There are no objections."]
    return "\n".join(lines)
