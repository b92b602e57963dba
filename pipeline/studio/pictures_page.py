"""Pictures: base, champion and challenger side by side by prompt and seed; and a prompt of one's own."""

from functools import partial

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

from pipeline.errors import UserError
from pipeline.evaluation.report_inputs import picture_file
from pipeline.registry.overview import VersionFacts, overview
from pipeline.sampling.recipe import recipe_from
from pipeline.studio.drawings import DRAWN, FILE, begin_drawing, drawings
from pipeline.studio.pages import FormError, Pages, text
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
        rows = rows_of(found, prompt)
        prompts = {name: words for _, kept in reversed(found) for name, words in kept.prompts.items()}
        drawing = place.runs_now(DRAWING)
        return pages.page(
            request,
            "pictures",
            versions=versions,
            sides=[version for version, _ in found],
            references=[version.reference for version in sides],
            rows=rows[max(at, 0) : max(at, 0) + ROWS],
            count=len(rows),
            at=max(at, 0),
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
        reference = text(form, "version", "a version")
        known = await run_in_threadpool(overview, place.path)
        version = next((one for found in known.values() for one in found if one.reference == reference), None)
        if version is None or not seed.isdecimal():
            raise FormError("choose a version, and a seed that is a number")
        recipe = recipe_from(given, "the recipe") if (given := text(form, "recipe")) else None
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


def rows_of(found: list[tuple[VersionFacts, VersionFiles]], prompt: str) -> list[dict[str, object]]:
    """A row for each prompt and noise that both sides drew: the base's picture and those of the versions. A cell says
    its own words where they are not those of the row: models of two subjects have prompts of the same name.
    """
    if not found:
        return []
    first, of_first = found[0]
    others = [kept.noises() for _, kept in found[1:]]
    shared = {
        place: noise for place, noise in of_first.noises().items() if all(other.get(place) == noise for other in others)
    }
    bases = {kept.params["base"]["model"] for _, kept in found}
    models = {version.model for version, _ in found}
    rows: list[dict[str, object]] = []
    for (name, seed), noise in shared.items():
        if prompt and name != prompt:
            continue
        words = of_first.prompts.get(name, name)
        cells: list[dict[str, str]] = []
        if _there(of_first, file := picture_file("base", name, seed)):
            title = "base" if len(bases) == 1 else f"base of {_title(first, models)}"
            cells.append({"title": title, "words": "", "file": _address(first, file), "back": ""})
        for version, kept in found:
            own = kept.prompts.get(name, name)
            if _there(kept, file := picture_file("tuned", name, seed)):
                back = f"/back/{version.model}/{version.version}/{name}/{seed}"
                told = {"title": _title(version, models), "words": own if own != words else ""}
                cells.append({**told, "file": _address(version, file), "back": back})
        rows.append({"words": words, "seed": noise, "cells": cells})
    return rows


def _title(version: VersionFacts, models: set[str]) -> str:
    """What a version is called under its picture: with its model's name where pictures of another one stand beside."""
    named = f"{version.model} version" if len(models) > 1 else "version"
    return f"{named} {version.version}" + (f" ({', '.join(version.aliases)})" if version.aliases else "")


def _address(version: VersionFacts, file: str) -> str:
    return f"/pictures/of/{version.model}/{version.version}/{file}"


def _there(kept: VersionFiles, file: str) -> bool:
    return kept.report is not None and (kept.report / file).is_file()


def _unique(versions: list[VersionFacts]) -> list[VersionFacts]:
    return list({version.reference: version for version in versions}.values())
