"""Runs: start one, watch it, stop it, go on."""

import re
from pathlib import Path

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

from pipeline.errors import UserError
from pipeline.files import read_json
from pipeline.layout import PARAMS, PREVIEWS, REGISTRATION, REPORT_PAGE, RUN
from pipeline.params import Params, load_params
from pipeline.runs.costs import in_words, time_left, time_sentence
from pipeline.runs.disk import disk_sentence
from pipeline.runs.dvc_locks import RUN_LOCK, is_held
from pipeline.runs.profiles import profiles, use_profile
from pipeline.runs.status import runs_at_work
from pipeline.studio.locked import HERE, locked
from pipeline.studio.pages import FormError, Pages, text
from pipeline.training.finished import finished_run, run_taken_in, trainings

SHOWN = 6  # previews
AGAIN_S = 5  # between two looks at a run
PREVIEW = re.compile(r"^(?P<row>[0-9a-f]{8}(-[0-9a-f]{8})?)-\d{8}\.png$")  # older ones have 8 digits before the step


def router(pages: Pages) -> APIRouter:
    """Its addresses."""
    routes, place = APIRouter(), pages.place

    @routes.get("/runs")
    def show(request: Request) -> HTMLResponse:
        ours = place.runs_now(HERE)
        at_work = runs_at_work(place.path)
        try:
            params = load_params(place.path / PARAMS)
            plan = f"{params.train.method}, {params.train.steps} steps on {params.base.model}"
            steps, problem = params.train.steps, ""
            costs = {"Time": time_sentence(place.path, params), "Disk": disk_sentence(place.path, params)}
            progress = time_left(place.path, params, place.began(HERE)) if ours else None
        except UserError as error:
            params, plan, steps, problem, costs, progress = None, "", 0, str(error), {}, None
        previews = _previews(place.path)
        return pages.page(
            request,
            "runs",
            ours=ours,
            outcome=place.outcome(HERE),
            others=[run for run in at_work if run.folder != str(place.path) or not ours],
            plan=plan,
            steps=steps,
            step=progress[0] if progress else None,
            left=in_words(progress[1]) if progress else "",
            costs=costs,
            goes_on=None if ours else _unfinished(place.path),
            written_again=not ours and _is_written_again(place.path),
            problem=problem,
            log=place.tail(HERE),
            previews=[path.name for path in previews],
            prompts=_prompts_of(previews, params),
            profiles=[(profile.name, profile.purpose) for profile in profiles()],
            report=(place.path / REPORT_PAGE).is_file() and (place.path / REGISTRATION).is_file(),
            refresh=AGAIN_S if ours else None,
        )

    @routes.post("/runs/start")
    async def start(request: Request) -> Response:
        form = await pages.form(request)
        profile = text(form, "profile")
        await run_in_threadpool(load_params, place.path / PARAMS)  # with mistakes it cannot be taken over either
        if profile:
            await run_in_threadpool(locked(place, use_profile), profile, place.path / PARAMS)
        if is_held(place.path / RUN_LOCK) or not await run_in_threadpool(place.start, HERE, ["run"]):
            raise FormError(
                "a run, or a change of photos or parameters, is at work already: wait for its end, or stop it"
            )
        return pages.go("/runs", "the run has begun; it goes on where an earlier one was stopped")

    @routes.post("/runs/stop")
    async def stop(request: Request) -> Response:
        await pages.form(request)
        if not await run_in_threadpool(place.stop, HERE):
            return pages.go("/runs", "no run of this page is at work", bad=True)
        return pages.go("/runs", "the run was stopped; start it again to go on from where it was")

    @routes.get("/previews/{name}")
    def preview(name: str) -> Response:
        if not PREVIEW.match(name) or not (place.path / PREVIEWS / name).is_file():
            raise FormError("there is no such preview")
        return FileResponse(place.path / PREVIEWS / name)

    return routes


def _previews(workspace: Path) -> list[Path]:
    """The newest previews of the training that drew last, by its present prompts and seed, the newest first: others
    would stand under the same steps.
    """
    found = {path: match["row"] for path in (workspace / PREVIEWS).glob("*.png") if (match := PREVIEW.match(path.name))}
    aged = sorted(found, key=lambda path: (path.stat().st_mtime, path.name), reverse=True)
    return [path for path in aged if found[path] == found[aged[0]]][:SHOWN]


def _prompts_of(previews: list[Path], params: Params | None) -> list[str]:
    """What previews show from left to right; [] where they are not known to be of the present parameters."""
    if params is None or not previews or f"-{params.preview.pictures_digest}-" not in previews[0].name:
        return []
    return params.preview.prompts


def _unfinished(workspace: Path) -> int | None:
    """The step that a stopped training had saved, and from which the next run goes on if nothing is changed."""
    done = read_json(workspace / RUN).get("inputs") if (workspace / RUN).is_file() else None
    folders = [path for path in trainings(workspace) if path.name != done and finished_run(path) is None]
    found = [path for folder in folders for path in folder.glob("step-*")]
    steps = [int(path.name.partition("-")[2]) for path in found if path.name.partition("-")[2].isdecimal()]
    return max(steps, default=None)


def _is_written_again(workspace: Path) -> bool:
    """Whether a training ended whose results DVC has not taken in: the next run writes them again without a step."""
    return bool({finished_run(path) for path in trainings(workspace)} - {None, run_taken_in(workspace)})
