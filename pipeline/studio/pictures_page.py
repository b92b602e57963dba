"""Pictures: base, champion and challenger side by side by prompt and seed; and a prompt of one's own."""

import re
from pathlib import Path

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

from pipeline.errors import UserError
from pipeline.files import write_text
from pipeline.registry.overview import VersionFacts, overview
from pipeline.sampling.recipe import recipe_from, recipe_text
from pipeline.studio.pages import FormError, Pages, text
from pipeline.studio.version_files import PICTURE, VersionFiles, seen_version, version_files
from pipeline.studio.workplace import LOGS

ROWS = 12  # on one page
DRAWN = LOGS / "drawn"
DRAWING = "draw"
AGAIN_S = 4
NUMBER = re.compile(r"^[0-9]+(?=-)")
FILE = re.compile(r"^[0-9]+-v[0-9]+\.png$")


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
        prompts = {name: words for _, kept in found for name, words in kept.prompts.items()}
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
            drawn=_drawn(place.path),
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
        found = re.match(r"^models:/[A-Za-z0-9_-]+/([0-9]+)$", reference)
        if not found or not seed.isdecimal():
            raise FormError("choose a version, and a seed that is a number")
        (place.path / DRAWN).mkdir(parents=True, exist_ok=True)
        taken = [int(known[0]) for path in (place.path / DRAWN).iterdir() if (known := NUMBER.match(path.name))]
        number = max(taken, default=0) + 1
        out = DRAWN / f"{number}-v{found[1]}.png"
        arguments = ["generate", "--model", reference, "--seed", seed, "--out", str(out)]
        if recipe := text(form, "recipe"):
            checked = recipe_from(recipe, "the recipe")
            file = place.path / DRAWN / f"{number}-recipe.yaml"
            write_text(file, recipe_text(checked))
            arguments += ["--recipe", str(file)]
        if not await run_in_threadpool(place.start, DRAWING, [*arguments, "--", words]):
            raise FormError("a picture is being drawn already; wait for it")
        return pages.go("/pictures", f"drawing “{words}” with {reference}, seed {seed}")

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
    """A row for each prompt and seed that both sides drew: the base's picture and those of the versions."""
    if not found:
        return []
    shared = [place for place in found[0][1].pictures() if all(place in kept.pictures() for _, kept in found[1:])]
    rows: list[dict[str, object]] = []
    for name, seed in shared:
        if prompt and name != prompt:
            continue
        words = next((kept.prompts[name] for _, kept in found if name in kept.prompts), name)
        file = f"{name}-{seed}.png"
        first = found[0][0]
        cells: list[dict[str, str]] = []
        if _there(found[0][1], f"base/{file}"):
            where = f"/pictures/of/{first.model}/{first.version}/base/{file}"
            cells.append({"title": "base", "file": where, "back": ""})
        for version, kept in found:
            if _there(kept, f"tuned/{file}"):
                title = f"version {version.version}" + (f" ({', '.join(version.aliases)})" if version.aliases else "")
                where, back = f"{version.model}/{version.version}", f"{name}/{seed}"
                cells.append(
                    {"title": title, "file": f"/pictures/of/{where}/tuned/{file}", "back": f"/back/{where}/{back}"}
                )
        rows.append({"words": words, "seed": seed, "cells": cells})
    return rows


def _there(kept: VersionFiles, file: str) -> bool:
    return kept.report is not None and (kept.report / file).is_file()


def _unique(versions: list[VersionFacts]) -> list[VersionFacts]:
    return list({version.reference: version for version in versions}.values())


def _drawn(workspace: Path) -> list[str]:
    """The pictures that were drawn here, the newest first."""
    found = [path for path in (workspace / DRAWN).glob("*.png") if FILE.match(path.name)]
    return [path.name for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)[:12]]
