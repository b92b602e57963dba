"""Verdict: gates with causes, objections to a promotion, and a person's answer with name and reason."""

from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

from pipeline.errors import UserError
from pipeline.evaluation.known_interval import gate_words
from pipeline.layout import REPORT_GRID
from pipeline.params import Gates
from pipeline.registry.approval import approve, reject
from pipeline.registry.examination import examine
from pipeline.registry.overview import VersionFacts, overview
from pipeline.registry.promotion import promote, refuse
from pipeline.registry.publication import NotPublished, publish_where_set
from pipeline.registry.reviews import reviews_of
from pipeline.registry.store import connect
from pipeline.studio.pages import FormError, Pages, text
from pipeline.studio.preferences import shown_tallies
from pipeline.studio.version_files import version_files


def router(pages: Pages) -> APIRouter:
    """Its addresses."""
    routes, place = APIRouter(), pages.place

    @routes.get("/verdict")
    def show(request: Request, version: str = "") -> HTMLResponse:
        versions = [one for found in overview(place.path).values() for one in found]
        chosen = next((one for one in versions if one.reference == version), None) or newest_challenger(versions)
        evaluation: dict[str, Any] | None = None
        problem, grid, without, reviews = "", False, "", []
        preferred: list[dict[str, Any]] = []
        unread = ""
        if chosen is not None:
            try:
                kept = version_files(place.path, chosen.reference)
                evaluation, grid, without = kept.evaluation, kept.report is not None, kept.without_report
            except UserError as error:
                problem = str(error)
            tags = connect(place.path).get_model_version(chosen.model, chosen.version).tags
            reviews = reviews_of(tags)
            preferred, unread = shown_tallies(place.path, chosen.reference)
        verdict = evaluation["verdict"] if evaluation else {}
        advice = {line["gate"]: line for line in verdict.get("advice", [])}
        return pages.page(
            request,
            "verdict",
            versions=versions,
            chosen=chosen,
            sentence=verdict.get("sentence", ""),
            fit=bool(verdict.get("promotable")),
            gates=gates_of(evaluation, advice),
            grid=grid,
            without=without,
            reviews=reviews,
            tallies=preferred,
            unread=unread,
            problem=problem,
        )

    @routes.get("/verdict/grid/{model}/{version}")
    def grid_of(model: str, version: str) -> Response:
        if not version.isdecimal():
            raise FormError("there is no such version")
        kept = version_files(place.path, f"models:/{model}/{version}")
        if kept.report is None or not (kept.report / REPORT_GRID.name).is_file():
            raise FormError(kept.without_report or f"{REPORT_GRID.name} is missing from the report of this version")
        return FileResponse(kept.report / REPORT_GRID.name)

    @routes.post("/verdict/examine")
    async def look(request: Request) -> Response:
        form = await pages.form(request)
        reference = text(form, "version", "a version")
        found = await run_in_threadpool(examine, place.path, reference)
        against = [*found.forbidden, *found.objections]
        said = "there are no objections" if not against else "against it:\n" + "\n".join(against)
        compared = f"\n{found.comparison['sentence']}" if found.comparison else ""
        return pages.go(_page_of(reference), f"{reference}: {said}{compared}", bad=bool(against))

    @routes.post("/verdict/answer")
    async def answer(request: Request) -> Response:
        form = await pages.form(request)
        reference = text(form, "version", "a version")
        name, reason = text(form, "name", "your name"), text(form, "reason", "a reason")
        if form.get("answer") == "reject":
            rejection = await run_in_threadpool(reject, place.path, reference, name, reason)
            return pages.go(_page_of(reference), rejection.sentence)
        if form.get("answer") != "approve":
            raise FormError("approve it or reject it")
        model, said = await run_in_threadpool(_approve, pages, reference, name, reason)
        published, well = await run_in_threadpool(_publish, pages, model, name)
        return pages.go(_page_of(reference), f"{said}\n{published}".strip(), bad=not well)

    return routes


def newest_challenger(versions: list[VersionFacts]) -> VersionFacts | None:
    """What a person has to judge first."""
    return next((one for one in versions if "challenger" in one.aliases), versions[0] if versions else None)


def gates_of(evaluation: dict[str, Any] | None, advice: dict[str, dict[str, str]]) -> list[dict[str, str]]:
    """A row for each gate: what it asks for, what was measured, what was wanted, and where it did not pass cause and
    change.
    """
    rows = []
    for gate in evaluation["gates"] if evaluation else []:
        told = advice.get(gate["gate"], {})
        rows.append(
            {
                **gate_words(gate, 3),
                "asks": asked_of(gate["gate"]),
                "cause": told.get("cause", ""),
                "change": told.get("change", ""),
            }
        )
    return rows


def asked_of(gate: str) -> str:
    """What a gate asks for, as params.yaml describes its threshold; '' of one that only other versions know."""
    known = Gates.model_fields.get(gate)
    return (known.description or "") if known is not None else ""


def _page_of(reference: str) -> str:
    return f"/verdict?version={reference}"


def _approve(pages: Pages, reference: str, name: str, reason: str) -> tuple[str, str]:
    """Record the yes, then promote: whoever approves overrules the no of somebody else, and no other objection.

    Returns:
        The model, and what is so now.

    Raises:
        Refused: there are other objections; no yes is on record then.
    """
    workspace = pages.place.path
    before = examine(workspace, reference)
    refuse(before.approved())
    approve(workspace, before.model, before.version, name, reason)
    examined = examine(workspace, f"models:/{before.model}/{before.version}")
    moved = promote(workspace, examined, by=name, why=reason, approved_by=name)
    instead = f" instead of version {moved.before}" if moved is not None and moved.before else ""
    return examined.model, f"{examined.model} version {examined.version} is the champion{instead}, approved by {name}"


def _publish(pages: Pages, model: str, name: str) -> tuple[str, bool]:
    """Upload the champion where `publish.to` says so; what became of it, and whether that is well."""
    try:
        return publish_where_set(pages.place.path, model, name, "The promotion itself is done"), True
    except NotPublished as error:
        return str(error), False
