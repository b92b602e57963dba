"""Promotion: a version is examined, compared, approved by a person where wanted, recorded and published."""

from pathlib import Path
from typing import Annotated, Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_image_artifact, create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from pydantic import Field, StringConstraints

from flows.artifacts import as_data, gate_rows
from flows.forms import FormRefused, check_form, is_form
from flows.stage_task import worth_trying
from pipeline.errors import UserError
from pipeline.layout import REPORT_GRID
from pipeline.registry import publication
from pipeline.registry.approval import approve, reject
from pipeline.registry.artifacts import ArtifactsAway
from pipeline.registry.blind_choices import tallies
from pipeline.registry.examination import Examined, Refused, examine
from pipeline.registry.found import Found
from pipeline.registry.lookup import find_record, recorded_evaluation
from pipeline.registry.page_links import report_page, run_page, version_page
from pipeline.registry.promotion import promote as move_champion
from pipeline.registry.promotion_history import Moved

PATIENCE = 60  # seconds that a person's answer waits for another promotion before it is tried again
DELAYS_S = [10.0, 60.0, 300.0]


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
        NotPublished: it is the champion, but could not be uploaded to `publish.to`.
    """
    check_form(workspace, hidden=(workspace != Path(), force))
    if is_form() and not ask:
        raise FormRefused("a form asks a person before it promotes: leave `ask` as it is")
    examined = examine_version(workspace, ref, allow_unclean)
    asked = summary(examined) + show_version(workspace, examined)
    create_markdown_artifact(asked, key="promotion", description="gates, comparison with the champion, and objections")
    approved_by = None
    if ask and not examined.forbidden and (force or not examined.approved().objections):
        answer: Any = pause_flow_run(wait_for_input=Approval.with_initial_data(description=asked), timeout=wait_s)
        keep_answer(workspace, examined, answer)
        if not answer.promote:
            raise Refused(
                f"{examined.model} version {examined.version}: rejected by {answer.name}. {answer.reason}".strip()
            )
        examined, approved_by = examined.approved(), answer.name
        reason = ". ".join(part for part in (reason, answer.reason) if part)
    move = move_aliases
    if approved_by is not None:  # nobody is asked again because something else was under way
        move = move_aliases.with_options(
            retries=len(DELAYS_S), retry_delay_seconds=DELAYS_S, retry_condition_fn=worth_trying
        )
    moved = move(workspace, examined, by, reason, force, allow_unclean, approved_by)
    sentence = outcome(examined, moved)
    with publication.publishing(examined.model, "The promotion itself is done"):
        to = publication.publish_to(workspace)
        if to is not None:
            sentence += "\n" + publish_champion(workspace, examined.model, to, by)
    get_run_logger().info(sentence)
    return sentence


@task(cache_policy=NO_CACHE, task_run_name="examine")
def examine_version(workspace: Path, ref: str, allow_unclean: bool) -> Examined:
    """Every objection to it."""
    return examine(workspace, ref, allow_unclean)


@task(
    cache_policy=NO_CACHE,
    task_run_name="keep the answer",
    retries=len(DELAYS_S),
    retry_delay_seconds=DELAYS_S,
    retry_condition_fn=worth_trying,
)
def keep_answer(workspace: Path, examined: Examined, answer: Approval) -> None:
    """Put the yes or the no on record; it waits for what is under way."""
    model, version = examined.model, examined.version
    if answer.promote:
        approve(workspace, model, version, answer.name, answer.reason, PATIENCE)
    else:
        reject(workspace, f"models:/{model}/{version}", answer.name, answer.reason, PATIENCE)


def _report_of(found: Found) -> Path | None:
    try:
        return found.stored.report() if found.stored is not None else None
    except ArtifactsAway:  # the gates are shown without it
        return None


@task(cache_policy=NO_CACHE, task_run_name="show")
def show_version(workspace: Path, examined: Examined) -> str:
    """The gates and pictures of a version as artifacts of this run; Markdown with its gates and links."""
    try:
        with find_record(workspace, f"models:/{examined.model}/{examined.version}") as found:
            evaluation = recorded_evaluation(found)
            report = _report_of(found)
            if evaluation is not None:
                create_table_artifact(gate_rows(evaluation), key="gates", description=evaluation["verdict"]["sentence"])
            if report is not None and (report / REPORT_GRID.name).is_file():
                picture = as_data(report / REPORT_GRID.name)
                create_image_artifact(picture, key="pictures", description="the same prompts: base and tuned")
            links = version_links(workspace, examined, found)
    except (UserError, OSError, ValueError, KeyError, TypeError) as error:
        get_run_logger().warning(f"gates and pictures cannot be shown: {error}")
        return ""
    lines = ["", "", f"**{evaluation['verdict']['sentence']}**", ""] if evaluation is not None else ["", ""]
    for row in gate_rows(evaluation) if evaluation is not None else []:
        lines.append(f"- {row['gate']}: {row['verdict']}, {row['measured']}, wanted {row['wanted']}")
    lines += ["", *preferred(workspace, examined)]
    return "\n".join([*lines, "", *(f"- [{words}]({address})" for words, address in links)])


def preferred(workspace: Path, examined: Examined) -> list[str]:
    """What people preferred in blind choices, a Markdown line for each side that the version was compared with."""
    try:
        found = tallies(workspace, f"models:/{examined.model}/{examined.version}")
    except UserError as error:
        return [f"What people preferred cannot be read: {error}"]
    if not found:
        return ["Nobody has compared its pictures blind yet; the studio's page Blind choice does that."]
    return [f"{one.sentence}. By {', '.join(one.people)}." for one in found]


def version_links(workspace: Path, examined: Examined, found: Found) -> list[tuple[str, str]]:
    """Words and addresses of MLflow's pages about a version; none where MLflow has no pages."""
    run = run_page(workspace, found.facts["MLflow run"])
    version = version_page(workspace, examined.model, examined.version)
    if run is None or version is None:
        return []
    report = report_page(run, found.lineage["weights"]["content_digest"])
    return [("the report with its pictures", report), ("the version in MLflow", version)]


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
    lines = [f"## {examined.model} version {examined.version}", ""]
    if examined.champion:
        sentence = (examined.comparison or {}).get("sentence", "not comparable")
        lines += [f"Against the champion, version {examined.champion}: {sentence}", ""]
    lines += [f"- {line}" for line in (*examined.forbidden, *examined.objections)] or ["There are no objections."]
    return "\n".join(lines)
