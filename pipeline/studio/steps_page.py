"""Where a picture comes from: the photos and settings behind it; and how the pictures changed while a model learned."""

import io
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

from pipeline.errors import UserError
from pipeline.evaluation.report_facts import NAMES
from pipeline.evaluation.report_inputs import picture_file
from pipeline.registry.overview import VersionFacts, overview
from pipeline.registry.recipes import recipe_in
from pipeline.studio.pages import FormError, Pages
from pipeline.studio.training_steps import Sheet, preview_sheets, preview_table, run_file
from pipeline.studio.version_files import VersionFiles, seen_version, version_files

COSINES = ("identity_heldout", "identity_train", "prompt_fidelity", "copy")
DREW = ("scheduler", "steps", "guidance", "precision")
CANDIDATES = "candidates.png"


def router(pages: Pages) -> APIRouter:
    """Its addresses."""
    routes, place = APIRouter(), pages.place

    def version_of(model: str, number: str) -> VersionFacts:
        found = next((one for one in overview(place.path).get(model, []) if one.version == number), None)
        if found is None:
            raise FormError(f"there is no {model} version {number}")
        return found

    @routes.get("/back/{model}/{version}/{prompt}/{seed}")
    def back(model: str, version: str, prompt: str, seed: int) -> HTMLResponse:
        found = version_of(model, version)
        kept = version_files(place.path, found.reference)
        row = kept.row("tuned", prompt, seed)
        if row is None or kept.evaluation is None:
            raise FormError("there is no such picture")
        nearest = str(row.get("nearest", ""))
        context = {
            "version": found,
            "words": kept.prompts.get(prompt, prompt),
            "seed": kept.noises()[prompt, seed],
            "file": f"/pictures/of/{model}/{version}/{picture_file('tuned', prompt, seed)}",
            "sha256": row["sha256"],
            "figures": figures_of(row),
            "copied": bool(row.get("copied")),
            "drawn": _drawn(kept.evaluation),
            "recipe": recipe_in(kept.tags, f"{model} version {version}").changed,
            "photos": _photos(kept, nearest),
            "without": kept.without_report,
        }
        return HTMLResponse(pages.draw("back.html.j2", "pictures", context))

    @routes.get("/back/{model}/{version}/photo/of/{name}")
    def photo(model: str, version: str, name: str) -> Response:
        file = seen_version(place.path, f"models:/{model}/{version}").photo(name)
        if file is None:
            raise FormError("there is no such photo")
        return FileResponse(file)

    @routes.get("/steps/{model}/{version}")
    def steps(request: Request, model: str, version: str) -> HTMLResponse:
        found = version_of(model, version)
        kept = version_files(place.path, found.reference)
        sheets, problem = list[Sheet](), ""
        try:
            sheets = _sheets(place.path, found.run_id, kept)
        except UserError as error:
            problem = str(error)
        steps, rows = preview_table(sheets, _preview(kept).get("prompts", []))
        context = {
            "version": found,
            "steps": steps,
            "rows": rows,
            "several": {row.prompt for row in rows if [one.prompt for one in rows].count(row.prompt) > 1},
            "assumed": list(dict.fromkeys(str(sheet.step) for sheet in sheets if sheet.assumed)),
            "unnamed": [sheet for sheet in sheets if sheet.asked is None],
            "problem": problem,
            "candidates": kept.report is not None and (kept.report / CANDIDATES).is_file(),
            "without": kept.without_report,
        }
        return HTMLResponse(pages.draw("steps.html.j2", "pictures", context))

    @routes.get("/steps/{model}/{version}/candidates")
    def candidates(model: str, version: str) -> Response:
        kept = version_files(place.path, version_of(model, version).reference)
        if kept.report is None or not (kept.report / CANDIDATES).is_file():
            raise FormError(kept.without_report or "the report of this version has no pictures of its candidates")
        return FileResponse(kept.report / CANDIDATES)

    @routes.get("/steps/{model}/{version}/{step}/{key}/sheet")
    def whole(model: str, version: str, step: int, key: str) -> Response:
        file, _ = sheet_file(model, version, step, key)
        return FileResponse(file)

    @routes.get("/steps/{model}/{version}/{step}/{key}/{number}")
    def preview(model: str, version: str, step: int, key: str, number: int) -> Response:
        file, count = sheet_file(model, version, step, key)
        if not 0 <= number < count:
            raise FormError("there is no such preview")
        return Response(_tile(file, number, count), media_type="image/png")

    def sheet_file(model: str, version: str, step: int, key: str) -> tuple[Path, int]:
        """A sheet, and how many pictures it is known to have, 0 where that is not known."""
        found = seen_version(place.path, f"models:/{model}/{version}")
        for sheet in _sheets(place.path, found.run_id, found):
            if (sheet.step, sheet.key) == (step, key):
                return run_file(place.path, found.run_id, sheet.path), len(sheet.asked.prompts) if sheet.asked else 0
        raise FormError("there is no such preview")

    return routes


def figures_of(row: dict[str, Any]) -> list[tuple[str, str]]:
    """What was measured of one picture, by its name; `success`, a share of many, is a yes or no of one."""
    found = [(NAMES[name], f"{row[name]:.3f}") for name in COSINES if isinstance(row.get(name), int | float)]
    if isinstance(row.get("success"), int | float):
        found.append(("shows subject and prompt", "yes" if row["success"] else "no"))
    return found


def _preview(kept: VersionFiles) -> dict[str, Any]:
    """The parameters `preview` of a version's record."""
    return dict(kept.params.get("preview", {}))


def _sheets(workspace: Path, run_id: str, kept: VersionFiles) -> list[Sheet]:
    preview = _preview(kept)
    return preview_sheets(workspace, run_id, preview.get("prompts", []), preview.get("seed"))


def _drawn(evaluation: dict[str, Any]) -> str:
    """How the evaluation drew, in words."""
    draw, size = evaluation["draw"], evaluation["size"]
    told = [f"{name} {draw[name]}" for name in DREW if name in draw]
    sides = size if isinstance(size, list) else [size]
    return ", ".join([*told, f"{'x'.join(map(str, sides))} pixels"])


def _photos(kept: VersionFiles, nearest: str) -> list[dict[str, Any]]:
    """The photos of the version, the nearest to the picture first, then those trained on."""
    photos = [
        {**photo, "name": str(photo["file"]).rpartition("/")[2], "there": False, "nearest": False}
        for photo in kept.photos
    ]
    for photo in photos:
        photo["there"] = kept.photo(photo["name"]) is not None
        photo["nearest"] = photo["name"] == nearest
    return sorted(photos, key=lambda photo: (not photo["nearest"], photo["split"] != "train"))


def _tile(sheet: Any, number: int, count: int) -> bytes:
    """The picture of one prompt out of a sheet that has them in one row."""
    from PIL import Image

    target = io.BytesIO()
    with Image.open(sheet) as image:
        width = image.width // count
        image.crop((number * width, 0, (number + 1) * width, image.height)).save(target, "PNG")
    return target.getvalue()
