"""Cleaning up: what killed and failed work left behind, what would be free without it, and removing it."""

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from pipeline.errors import in_units
from pipeline.registry.overview import overview
from pipeline.runs.leftovers import Leftovers, find_leftovers, remove_leftovers
from pipeline.studio.locked import locked
from pipeline.studio.pages import FormError, Pages, text, texts

DAYS = 7.0  # that checkpoints, pictures and runs have been idle for
MOST_DAYS = 36500.0


def router(pages: Pages) -> APIRouter:
    """Its addresses."""
    routes, place = APIRouter(), pages.place

    @routes.get("/models/clean")
    def show(request: Request, days: str = "") -> HTMLResponse:
        idle = _days(days)
        versions = [one for found in overview(place.path).values() for one in found if not one.aliases]
        context = {
            "leftovers": find_leftovers(place.path, idle),
            "days": idle,
            "versions": [one for one in versions if not one.deleted],
        }
        return HTMLResponse(pages.draw("clean.html.j2", "models", context, request.query_params.get("said", "")))

    @routes.post("/models/clean")
    async def clean(request: Request) -> Response:
        form = await pages.form(request)
        idle = _days(text(form, "days"))
        chosen = set(texts(form, "where"))
        if not chosen:
            raise FormError("choose what is to be removed")
        if form.get("sure") != "yes":
            raise FormError("it cannot be undone: tick that you are sure")

        def remove() -> tuple[int, list[str]]:
            found = find_leftovers(place.path, idle)
            asked = [item for item in found.found if item.where in chosen]
            gone = sorted(chosen - {item.where for item in asked})
            freed, problems = remove_leftovers(Leftovers(asked, [], []))
            return freed, [*problems, *(f"{where} is no leftover any more and was kept" for where in gone)]

        freed, problems = await run_in_threadpool(locked(place, remove))
        return pages.go("/models/clean", "\n".join([f"{in_units(freed)} are free", *problems]), bad=bool(problems))

    return routes


def _days(given: str) -> float:
    """A number of days.

    Raises:
        FormError: it is none, or an impossible one.
    """
    try:
        days = float(given) if given else DAYS
    except ValueError:
        days = -1.0
    if not 0 <= days <= MOST_DAYS:
        raise FormError(f"'{given}' is no number of days")
    return days
