"""Deleting the weights of registered versions: what would go, who asks, and why."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from pipeline.registry.deletion import plan_deletion
from pipeline.registry.lookup import REFERENCE
from pipeline.studio.pages import FormError, Pages, text


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
        chosen = _chosen([value for value in form.getlist("version") if isinstance(value, str)])
        name, reason = text(form, "name", "your name"), text(form, "reason", "a reason")
        if form.get("sure") != "yes":
            raise FormError("it cannot be undone: tick that you are sure")
        status, said = await run_in_threadpool(
            place.ask, "delete", *chosen, f"--by={name}", f"--reason={reason}", "--yes"
        )
        return pages.go("/models", said, bad=status != 0)

    return routes


def _chosen(given: list[str]) -> list[str]:
    """References of versions.

    Raises:
        FormError: there is none, or one is something else.
    """
    if not given:
        raise FormError("choose a version")
    for one in given:
        if not REFERENCE.match(one):
            raise FormError(f"'{one}' names no version")
    return given
