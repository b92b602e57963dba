"""Deleting the weights of registered versions: what would go, who asks, and why."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from pipeline.registry.deletion import plan_deletion
from pipeline.registry.lookup import REFERENCE
from pipeline.studio.pages import FormError, Pages, text, texts

MOST_VERSIONS, LONGEST_NAME = 200, 300  # of one form; letters of a version's reference


def router(pages: Pages) -> APIRouter:
    """Its addresses."""
    routes, place = APIRouter(), pages.place

    @routes.get("/models/delete")
    def show(request: Request, version: Annotated[list[str] | None, Query()] = None) -> HTMLResponse:
        plan = plan_deletion(place.path, _chosen(version or []))
        return HTMLResponse(pages.draw("delete.html.j2", "models", {"plan": plan}))

    @routes.post("/models/delete")
    async def delete(request: Request) -> Response:
        form = await pages.form(request)
        chosen = _chosen(texts(form, "version"))
        name, reason = text(form, "name", "your name"), text(form, "reason", "a reason")
        if form.get("sure") != "yes":
            raise FormError("it cannot be undone: tick that you are sure")
        status, said = await run_in_threadpool(
            place.ask, "delete", *chosen, f"--by={name}", f"--reason={reason}", "--yes"
        )
        return pages.go("/models", said, bad=status != 0)

    return routes


def _chosen(given: list[str]) -> list[str]:
    """References of versions, each once.

    Raises:
        FormError: there is none, one is something else, or they are too many for one command.
    """
    chosen = list(dict.fromkeys(given))
    if not chosen:
        raise FormError("choose a version")
    if len(chosen) > MOST_VERSIONS:
        raise FormError(f"choose at most {MOST_VERSIONS} versions at once")
    for one in chosen:
        if len(one) > LONGEST_NAME or not one.isprintable() or not REFERENCE.match(one):
            raise FormError(f"'{one[:LONGEST_NAME]}' names no version")
    return chosen
