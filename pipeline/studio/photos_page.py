"""Photos: what is there, what is wrong with it, captions, split; drop more in, or begin with another subject."""

import base64
import tempfile
from pathlib import Path, PurePosixPath
from random import SystemRandom

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from pipeline.errors import UserError, counted
from pipeline.layout import DATA, PARAMS, STATE
from pipeline.params import load_params
from pipeline.photos.file_kinds import printable
from pipeline.photos.target import target_of
from pipeline.runs.new_subject import Wanted, begin_subject, plan_subject
from pipeline.runs.photo_archive import LONGEST
from pipeline.runs.photo_desk import Edit, add_photos, leave_out, save_captions, set_held_out
from pipeline.runs.photo_survey import Survey, survey_photos
from pipeline.runs.proposals import proposed
from pipeline.runs.readiness import check_readiness
from pipeline.runs.readiness_page import page_of
from pipeline.studio.locked import locked
from pipeline.studio.mask_page import PROPOSING
from pipeline.studio.pages import FormError, Pages, files, text
from pipeline.studio.protection import policy_with_style

CONSONANTS = "bcdfghjklmnpqrstvwxz"
KINDS = ("plush toy", "toy", "figurine", "dog", "cat", "person", "bag", "shoe", "mug", "chair", "car")
CAPTION_FORM = ("name", "caption", "scene", "shown", "shown_scene")  # the keys of a photo's fields
MOST_DIGITS = 6  # of a number of photos
CHUNK, MOST_BYTES = 1 << 20, 4 << 30  # of all files of one form


def router(pages: Pages) -> APIRouter:
    """Its addresses."""
    routes, place = APIRouter(), pages.place

    @routes.get("/photos")
    def show(request: Request) -> HTMLResponse:
        problem, survey, held = "", Survey(), 0
        try:
            params = load_params(place.path / PARAMS)
            held = params.prepare.heldout
            survey = survey_photos(place.path / DATA, params, target_of(params), thumbnails=True)
        except UserError as error:
            problem = str(error)
        pictures = {photo.name: base64.b64encode(photo.thumbnail).decode() for photo in survey.photos}
        return pages.page(
            request,
            "photos",
            survey=survey,
            problem=problem,
            held=held,
            pictures=pictures,
            proposed=proposed(place.path),
            token_idea=token_idea(),
            kinds=KINDS,
            proposing=place.runs_now(PROPOSING),
            proposal_failed=place.outcome(PROPOSING) not in (None, 0),
            proposal_log=place.tail(PROPOSING, 4),
        )

    @routes.get("/check")
    def check() -> HTMLResponse:
        """The whole check as its own page; its style is in it."""
        with place.lock:
            found = check_readiness(place.path, lambda _: None, thumbnails=True)
        made = page_of(found)
        return HTMLResponse(made, headers={"Content-Security-Policy": policy_with_style(made)})

    @routes.post("/photos/add")
    async def add(request: Request) -> Response:
        form = await pages.form(request)
        chosen = _some(files(form, "files"))
        with tempfile.TemporaryDirectory(dir=_scratch(place.path)) as folder:
            await _save(chosen, Path(folder))
            names = await run_in_threadpool(locked(place, add_photos), place.path, Path(folder))
        return pages.go(
            "/photos",
            f"{counted(len(names), 'photo')} {'was' if len(names) == 1 else 'were'} added: {', '.join(names)}",
        )

    @routes.post("/photos/new")
    async def new(request: Request) -> Response:
        form = await pages.form(request)
        wanted = Wanted(
            token=text(form, "token", "a token"),
            class_noun=text(form, "class_noun") or text(form, "kind", "a class"),
            name=text(form, "name") or None,
            animal=text(form, "animal") or None,
        )
        chosen = _some(files(form, "files"))
        with tempfile.TemporaryDirectory(dir=_scratch(place.path)) as folder:
            await _save(chosen, Path(folder))
            zipped = [path for path in Path(folder).iterdir() if path.suffix.lower() == ".zip"]
            if zipped and len(chosen) > 1:
                raise FormError("choose one .zip file, or photos, and not both")
            source = str(zipped[0]) if zipped else folder
            kept = await run_in_threadpool(locked(place, _begin), source, place.path, wanted)
        before = f"; what was there is kept as {', '.join(path.name for path in kept)}" if kept else ""
        return pages.go("/photos", f"{wanted.token} {wanted.class_noun}: photos and parameters are in place{before}")

    @routes.post("/photos/captions")
    async def captions(request: Request) -> Response:
        form = await pages.form(request)
        names, *columns = ([value for value in form.getlist(key) if isinstance(value, str)] for key in CAPTION_FORM)
        if any(len(column) != len(names) for column in columns):
            raise FormError("the form is incomplete; load the page again")
        edits = {name: _edit(*values) for name, *values in zip(names, *columns, strict=True)}
        await run_in_threadpool(locked(place, save_captions), place.path, edits)
        return pages.go("/photos", "captions and scenes are saved")

    @routes.post("/photos/leave-out")
    async def leave(request: Request) -> Response:
        form = await pages.form(request)
        kept = await run_in_threadpool(locked(place, leave_out), place.path, text(form, "name", "a photo"))
        return pages.go("/photos", f"it is kept as {kept.relative_to(place.path)}")

    @routes.post("/photos/held-out")
    async def held_out(request: Request) -> Response:
        form = await pages.form(request)
        count = text(form, "count", "a number")
        if not count.isdecimal() or len(count) > MOST_DIGITS:
            raise FormError(f"'{count[:MOST_DIGITS]}' is no number of photos")
        await run_in_threadpool(locked(place, set_held_out), place.path, int(count))
        return pages.go("/photos", f"{counted(int(count), 'photo')} {'is' if int(count) == 1 else 'are'} held out")

    return routes


def token_idea() -> str:
    """A word that means nothing yet: five consonants. Whether it will do is checked with the rest of the form."""
    return "".join(SystemRandom().sample(CONSONANTS, 5))


def _edit(caption: str, scene: str, shown: str, shown_scene: str) -> Edit:
    """What somebody left in a photo's fields: a caption is one line, however it was broken in its field."""
    typed, before = (" ".join(line.strip() for line in value.splitlines()) for value in (caption, shown))
    return Edit(shown if typed == before else typed, scene, shown, shown_scene)


def _begin(source: str, workspace: Path, wanted: Wanted) -> list[Path]:
    return begin_subject(plan_subject(source, workspace, wanted), workspace).kept


def _some(chosen: list[UploadFile]) -> list[UploadFile]:
    if not chosen:
        raise FormError("choose at least one file")
    return chosen


def _scratch(workspace: Path) -> Path:
    folder = workspace / STATE
    folder.mkdir(exist_ok=True)
    return folder


async def _save(chosen: list[UploadFile], folder: Path) -> None:
    """Write uploaded files under their own names, without the folders that a browser may put before them.

    Raises:
        FormError: two of one name, a hidden or impossible name, or more bytes than anybody's photos have.
    """
    size = 0
    for upload in chosen:
        name = PurePosixPath(str(upload.filename).replace("\\", "/")).name
        if "\0" in name or len(name.encode("utf-8", "surrogatepass")) > LONGEST:
            raise FormError(
                f"a file cannot be taken: call it otherwise, with {LONGEST} bytes at most: {printable(name)}"
            )
        if not name or name.startswith(".") or (folder / name).exists():
            raise FormError(f"'{upload.filename}' cannot be taken: its name is hidden, empty, or there twice")
        with (folder / name).open("xb") as file:
            while content := await upload.read(CHUNK):
                size += len(content)
                if size > MOST_BYTES:
                    raise FormError(f"the files have more than {MOST_BYTES >> 30} GB in all")
                await run_in_threadpool(file.write, content)
