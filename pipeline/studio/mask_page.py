"""Masks: paint one on a photo, upload one, take one away; and what programs proposed, accepted by a person."""

import io
from pathlib import Path
from urllib.parse import quote

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from pipeline.errors import counted
from pipeline.layout import PARAMS
from pipeline.params import Params, load_params
from pipeline.runs.mask_desk import keep_mask, remove_mask, set_up
from pipeline.runs.photo_desk import track_photos
from pipeline.runs.proposals import Accepted, accept
from pipeline.studio.locked import locked
from pipeline.studio.pages import FormError, Pages, files, text, texts

MOST_BYTES = 64 << 20  # of an uploaded mask
PROPOSING = "propose"  # the name of the process that proposes
PAINT = "#e0218a"  # as in static/mask.js
KINDS = ("captions", "masks")


def router(pages: Pages) -> APIRouter:
    """Its addresses."""
    routes, place = APIRouter(), pages.place

    @routes.get("/masks")
    def paint(request: Request, name: str = "") -> HTMLResponse:
        easel = set_up(place.path, name)
        context = {"easel": easel, "address": quote(name, safe="")}
        said = request.query_params.get("said", "")
        return HTMLResponse(pages.draw("mask.html.j2", "photos", context, said))

    @routes.get("/masks/photo")
    def photo(name: str = "") -> Response:
        target = io.BytesIO()
        set_up(place.path, name).picture.save(target, "JPEG", quality=90)
        return Response(target.getvalue(), media_type="image/jpeg")

    @routes.get("/masks/now")
    def now(name: str = "") -> Response:
        """The mask as paint on nothing, for the canvas."""
        from PIL import Image

        easel, target = set_up(place.path, name), io.BytesIO()
        if easel.mask is None:
            raise FormError(f"{name} has no mask")
        paint = Image.new("RGB", easel.mask.size, PAINT)
        paint.putalpha(easel.mask)
        paint.save(target, "PNG")
        return Response(target.getvalue(), media_type="image/png")

    @routes.post("/masks/save")
    async def save(request: Request) -> Response:
        form = await pages.form(request)
        name, by, before = text(form, "name", "a photo"), text(form, "by", "your name"), text(form, "before")
        given = files(form, "mask")
        if len(given) != 1:
            raise FormError("paint a mask, or choose one picture that is one")
        content = await given[0].read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise FormError(f"a mask has at most {MOST_BYTES >> 20} MB")
        kept = await run_in_threadpool(locked(place, keep_mask), place.path, name, content, by, before)
        instead = f"; the one before is kept as {kept.relative_to(place.path)}" if kept else ""
        return pages.go("/photos", f"{name} has a mask by {by}{instead}")

    @routes.post("/masks/remove")
    async def remove(request: Request) -> Response:
        form = await pages.form(request)
        name, before = text(form, "name", "a photo"), text(form, "before")
        kept = await run_in_threadpool(locked(place, remove_mask), place.path, name, before)
        return pages.go("/photos", f"the mask of {name} is kept as {kept.relative_to(place.path)}")

    @routes.post("/masks/propose")
    async def propose(request: Request) -> Response:
        form = await pages.form(request)
        kind = text(form, "kind", "captions or masks")
        if kind not in KINDS:
            raise FormError("captions or masks can be proposed")
        if not await run_in_threadpool(place.start, PROPOSING, ["propose", kind]):
            raise FormError("something is being proposed already; wait for it")
        return pages.go("/photos", f"{kind} are being proposed where there are none; load this page again to see them")

    @routes.post("/masks/accept")
    async def take_over(request: Request) -> Response:
        form = await pages.form(request)
        by = text(form, "by", "your name")
        only = texts(form, "photo")
        if not only:
            raise FormError("choose the photos whose proposals are right")
        params = await run_in_threadpool(load_params, place.path / PARAMS)
        done = await run_in_threadpool(locked(place, _accept), place.path, params, by, only)
        lines = [
            f"taken over: {counted(len(done.captions), 'caption')} and {counted(len(done.masks), 'mask')}",
            *done.left,
        ]
        return pages.go("/photos", "\n".join(lines), bad=bool(done.left))

    return routes


def _accept(workspace: Path, params: Params, by: str, only: list[str]) -> Accepted:
    done = accept(workspace, params, by, only)
    track_photos(workspace)
    return done
