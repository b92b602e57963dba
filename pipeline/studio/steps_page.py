"""Where a picture comes from: the photos and settings behind it; and how the pictures changed while a model learned."""

import io
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
from pipeline.studio.training_steps import Sheet, preview_sheets, run_file
from pipeline.studio.version_files import VersionFiles, seen_version, version_files

FIGURES = ("identity_heldout", "identity_train", "prompt_fidelity", "copy", "success")
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
            "figures": [(NAMES[name], row[name]) for name in FIGURES if isinstance(row.get(name), int | float)],
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
        sheets, problem, prompts = dict[int, Sheet](), "", _prompts(kept)
        try:
            sheets = preview_sheets(place.path, found.run_id, prompts)
        except UserError as error:
            problem = str(error)
        named = {step: sheet.prompts for step, sheet in sheets.items() if sheet.prompts is not None}
        words = dict.fromkeys([*prompts, *(prompt for row in named.values() for prompt in row)])
        context = {
            "version": found,
            "steps": list(named),
            "rows": [
                (one, [(step, row.index(one) if one in row else None) for step, row in named.items()])
                for one in words
                if any(one in row for row in named.values())
            ],
            "assumed": [str(step) for step, sheet in sheets.items() if sheet.assumed],
            "unnamed": [step for step in sheets if step not in named],
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

    @routes.get("/steps/{model}/{version}/{step}/sheet")
    def whole(model: str, version: str, step: int) -> Response:
        found = seen_version(place.path, f"models:/{model}/{version}")
        sheet = preview_sheets(place.path, found.run_id, _prompts(found)).get(step)
        if sheet is None:
            raise FormError("there is no such preview")
        return FileResponse(run_file(place.path, found.run_id, sheet.path))

    @routes.get("/steps/{model}/{version}/{step}/{number}")
    def preview(model: str, version: str, step: int, number: int) -> Response:
        found = seen_version(place.path, f"models:/{model}/{version}")
        sheet = preview_sheets(place.path, found.run_id, _prompts(found)).get(step)
        if sheet is None or sheet.prompts is None or not 0 <= number < len(sheet.prompts):
            raise FormError("there is no such preview")
        file = run_file(place.path, found.run_id, sheet.path)
        return Response(_tile(file, number, len(sheet.prompts)), media_type="image/png")

    return routes


def _prompts(kept: VersionFiles) -> list[str]:
    """The preview prompts of a version's record."""
    return list(kept.params.get("preview", {}).get("prompts", []))


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
