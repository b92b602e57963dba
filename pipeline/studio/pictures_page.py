"""Pictures: base, champion and challenger side by side by prompt and seed; and a prompt of one's own."""

from functools import partial

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

from pipeline.errors import UserError
from pipeline.registry.overview import VersionFacts, overview
from pipeline.sampling.generation_request import MOST_SHOWN, read_row
from pipeline.sampling.recipe import recipe_from
from pipeline.studio.drawings import DRAWN, FILE, begin_drawing, drawings
from pipeline.studio.pages import FormError, Pages, text
from pipeline.studio.picture_rows import problems_of, rows_of, why_no_rows
from pipeline.studio.version_files import PICTURE, VersionFiles, seen_version, version_files

ROWS = 12  # on one page
DRAWING = "draw"
AGAIN_S = 4


def router(pages: Pages) -> APIRouter:
    """Its addresses."""
    routes, place = APIRouter(), pages.place

    @routes.get("/pictures")
    def show(request: Request, left: str = "", right: str = "", prompt: str = "", at: int = 0) -> HTMLResponse:
        versions = [version for found in overview(place.path).values() for version in found]
        sides = chosen_sides(versions, left, right)
        found: list[tuple[VersionFacts, VersionFiles]] = []
        problems = []
        for version in sides:
            try:
                found.append((version, version_files(place.path, version.reference)))
            except UserError as error:
                problems.append(str(error))
        problems += problems_of(found)
        rows = rows_of(found, prompt)
        first = max(0, min(at, (len(rows) - 1) // ROWS * ROWS))  # past the end: the last page
        prompts = {name: words for _, kept in reversed(found) for name, words in kept.prompts.items()}
        drawing = place.runs_now(DRAWING)
        return pages.page(
            request,
            "pictures",
            versions=versions,
            sides=[version for version, _ in found],
            references=[version.reference for version in sides],
            drawable=[version for version in versions if not idle_because(version)],
            rows=rows[first : first + ROWS],
            nothing="" if rows else why_no_rows(found, prompt),
            count=len(rows),
            at=first,
            per_page=ROWS,
            prompt=prompt,
            prompts=prompts,
            problems=problems,
            drawing=drawing,
            outcome=place.outcome(DRAWING),
            log=place.tail(DRAWING, 6),
            drawn=drawings(place.path),
            refresh=AGAIN_S if drawing else None,
        )

    @routes.get("/pictures/of/{model}/{version}/{kind}/{name}")
    def picture(model: str, version: str, kind: str, name: str) -> Response:
        if not PICTURE.match(f"{kind}/{name}") or not version.isdecimal():
            raise FormError("there is no such picture")
        report = seen_version(place.path, f"models:/{model}/{version}").report
        if report is None or not (report / kind / name).is_file():
            raise FormError("there is no such picture")
        return FileResponse(report / kind / name)

    @routes.get("/pictures/drawn/{name}")
    def drawn(name: str) -> Response:
        if not FILE.match(name) or not (place.path / DRAWN / name).is_file():
            raise FormError("there is no such picture")
        return FileResponse(place.path / DRAWN / name)

    @routes.post("/pictures/draw")
    async def draw(request: Request) -> Response:
        form = await pages.form(request)
        words, seed = text(form, "prompt", "a prompt"), text(form, "seed") or "0"
        reference, given = text(form, "version", "a version"), text(form, "recipe")
        known = await run_in_threadpool(overview, place.path)
        version = next((one for found in known.values() for one in found if one.reference == reference), None)
        if version is None:
            raise FormError("choose a version of the list")
        if why := idle_because(version):
            raise FormError(f"{version.model} version {version.version} draws no more pictures here: {why}")
        if not seed.isdecimal():
            raise FormError(f"the seed must be a whole number, found '{seed[:MOST_SHOWN]}'")
        read_row(words, seed)
        recipe = recipe_from(given, "the recipe") if given else None
        begin = partial(begin_drawing, place.path, version, words, seed, recipe)
        if not await run_in_threadpool(place.start_prepared, DRAWING, begin):
            raise FormError("a picture is being drawn already; wait for it")
        return pages.go("/pictures", f"drawing “{words}” with {version.model} version {version.version}, seed {seed}")

    return routes


def chosen_sides(versions: list[VersionFacts], left: str, right: str) -> list[VersionFacts]:
    """The two versions that were asked for; else the champion and the challenger, or the newest ones."""
    by_reference = {version.reference: version for version in versions}
    asked = [by_reference[name] for name in (left, right) if name in by_reference]
    if asked:
        return _unique(asked)
    order = ("champion", "challenger")
    named = [version for alias in order for version in versions if alias in version.aliases]
    model = named[0].model if named else (versions[0].model if versions else "")
    return _unique([version for version in [*named, *versions] if version.model == model])[:2]


def idle_because(version: VersionFacts) -> str:
    """Why nothing is drawn with a version: its weights were deleted, or it was withdrawn; '' where neither holds."""
    return version.why_barred if version.deleted or version.withdrawn else ""


def _unique(versions: list[VersionFacts]) -> list[VersionFacts]:
    return list({version.reference: version for version in versions}.values())
