"""Models: versions, aliases, verdicts, disk; the way back to the photos; taking a photo out of use."""

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from pipeline.errors import UserError
from pipeline.layout import DATA
from pipeline.photos.file_kinds import scan_folder
from pipeline.registry.impact import impact
from pipeline.registry.overview import overview
from pipeline.studio.pages import FormError, Pages, text
from pipeline.studio.version_files import version_files


def router(pages: Pages) -> APIRouter:
    """Its addresses."""
    routes, place = APIRouter(), pages.place

    @routes.get("/models")
    def show(request: Request, photo: str = "") -> HTMLResponse:
        data = place.path / DATA
        photos = scan_folder(data)[0].photos if data.is_dir() else []
        found, problem = None, ""
        if photo:
            try:
                found = impact(place.path, _photo(pages, photo))
            except UserError as error:
                problem = str(error)
        return pages.page(
            request,
            "models",
            models=overview(place.path),
            photos=photos,
            photo=photo,
            found=found,
            in_use=[one for one in found.affected if one.withdrawn is None] if found else [],
            problem=problem,
        )

    @routes.get("/models/{model}/{version}")
    def one(request: Request, model: str, version: str) -> HTMLResponse:
        found = next((one for one in overview(place.path).get(model, []) if one.version == version), None)
        if found is None:
            raise FormError(f"there is no {model} version {version}")
        kept = version_files(place.path, found.reference)
        return HTMLResponse(pages.draw("version.html.j2", "models", {"version": found, "photos": kept.photos}))

    @routes.post("/models/withdraw")
    async def withdraw(request: Request) -> Response:
        form = await pages.form(request)
        photo, name = text(form, "photo", "a photo"), text(form, "name", "your name")
        reason = text(form, "reason", "a reason")
        if form.get("sure") != "yes":
            raise FormError("it cannot be undone: tick that you are sure")
        asked = _photo(pages, photo)
        exact = ["--exact"] if form.get("exact") == "yes" else []
        status, said = await run_in_threadpool(
            place.ask, "withdraw", f"--by={name}", f"--reason={reason}", *exact, "--yes", "--", asked
        )
        return pages.go("/models", said, bad=status != 0)

    return routes


def _photo(pages: Pages, given: str) -> str:
    """A photo of this workspace by name, or the sha256 of one that is gone: no other file of this machine.

    Raises:
        FormError: neither.
    """
    data = pages.place.path / DATA
    if data.is_dir() and given in scan_folder(data)[0].photos:
        return str(data / given)
    if len(given) == 64 and all(letter in "0123456789abcdef" for letter in given):
        return given
    raise FormError(f"'{given}' is neither a photo of this workspace nor the sha256 of one")
