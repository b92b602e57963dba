"""Blind choice: two pictures of one prompt and seed, nobody is told whose; the answers are kept in the registry."""

import io
from pathlib import Path

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from pipeline.evaluation.preference import BASE, Choice, Picked, Side, asked
from pipeline.evaluation.report_inputs import picture_file
from pipeline.files import digest_file
from pipeline.registry.blind_choices import keep_choice, now, read_choices
from pipeline.registry.overview import overview
from pipeline.studio.pages import FormError, Pages, text
from pipeline.studio.preferences import shown_tallies
from pipeline.studio.sittings import KEPT, Pair, Sitting, Sittings, draw_order, either_side
from pipeline.studio.verdict_page import newest_challenger
from pipeline.studio.version_files import VersionFiles, version_files
from pipeline.studio.workplace import Workplace

PHOTOS = 4  # of the subject, that are shown beside a pair
NAME = 100  # letters of a person's name
GONE = (
    "these pictures are not there any more: the version was judged anew, or its report was deleted; what you chose is "
    "kept, begin another sitting"
)


def router(pages: Pages) -> APIRouter:
    """Its addresses."""
    routes, place, sittings = APIRouter(), pages.place, Sittings()

    @routes.get("/blind")
    def show(request: Request, version: str = "", against: str = "") -> HTMLResponse:
        versions = [one for found in overview(place.path).values() for one in found]
        chosen = next((one for one in versions if one.reference == version), None) or newest_challenger(versions)
        others = [one for one in versions if chosen and one.model == chosen.model and one != chosen]
        champion = next((one.reference for one in others if "champion" in one.aliases), BASE)
        known = {BASE, *(one.reference for one in others)}
        context = {
            "versions": versions,
            "chosen": chosen,
            "others": others,
            "against": against if against in known else champion,
        }
        return HTMLResponse(pages.draw("blind.html.j2", "verdict", context))

    @routes.post("/blind/start")
    async def start(request: Request) -> Response:
        form = await pages.form(request)
        name, version = text(form, "name", "your name"), text(form, "version", "a version")
        against = text(form, "against", "what it is compared with")
        if len(name) > NAME:
            raise FormError(f"a name has at most {NAME} letters")
        sitting = await run_in_threadpool(_begin, place, sittings, name, version, against)
        return RedirectResponse(f"/blind/{sitting.key}", 303)

    @routes.get("/blind/{key}")
    def pair(key: str) -> HTMLResponse:
        sitting = _open(sittings, key)
        done = sitting.at >= len(sitting.pairs)
        context = {
            "sitting": sitting,
            "pair": None if done else sitting.pairs[sitting.at],
            "photos": len(sitting.photos),
            "tallies": shown_tallies(place.path, sitting.version)[0] if done else [],
        }
        return HTMLResponse(pages.draw("pair.html.j2", "verdict", context))

    @routes.post("/blind/{key}")
    async def choose(request: Request, key: str) -> Response:
        form = await pages.form(request)
        sitting = _open(sittings, key)
        at, answer = text(form, "at"), text(form, "chosen", "an answer")
        if answer not in ("left", "right", "none"):
            raise FormError("choose the left one, the right one, or no difference")
        await run_in_threadpool(_keep, place, sitting, at, answer)
        return RedirectResponse(f"/blind/{key}", 303)

    @routes.get("/blind/{key}/{at}/{side}")
    def picture(key: str, at: int, side: str) -> Response:
        sitting = _open(sittings, key)
        if side not in ("left", "right") or not 0 <= at < len(sitting.pairs):
            raise FormError("there is no such picture")
        return Response(_bare(sitting.pairs[at].shown(side)), media_type="image/png")

    @routes.get("/blind/{key}/photo-{number}")
    def photo(key: str, number: int) -> Response:
        sitting = _open(sittings, key)
        if not 0 <= number < len(sitting.photos):
            raise FormError("there is no such photo")
        return Response(_bare(sitting.photos[number]), media_type="image/png")

    return routes


def _open(sittings: Sittings, key: str) -> Sitting:
    if (sitting := sittings.find(key)) is None:
        raise FormError(
            f"no sitting is open at this address: it was never one, or the studio was started anew or held {KEPT} "
            "sittings that were used later; what was chosen is kept, begin another one"
        )
    return sitting


def _begin(place: Workplace, sittings: Sittings, by: str, version: str, against: str) -> Sitting:
    known = {one.reference: one for found in overview(place.path).values() for one in found}
    if version not in known or (against != BASE and against not in known) or version == against:
        raise FormError("choose a version, and another one or the base to compare it with")
    ours = version_files(place.path, version)
    theirs = ours if against == BASE else version_files(place.path, against)
    there, other_noises = pairs_of(ours, theirs, against)
    if not there and other_noises:
        raise FormError(
            "these two drew the same prompts from different noises, so that a choice would be one between noises, not "
            "between models; pictures can be compared where one version of dreamtrace judged both"
        )
    if not there and (lacking := dict.fromkeys(kept.without_report for kept in (ours, theirs) if kept.without_report)):
        raise FormError("\n".join(lacking))
    if not there:
        raise FormError("these two have no pictures of the same prompts and seeds in the registry")
    choices, _ = read_choices(place.path, version)
    seen = {choice.asked for choice in choices if choice.by.casefold() == by.casefold() and choice.against == against}
    digests = {pair: {side: digest_file(path) for side, path in files.items()} for pair, files in there.items()}
    left = [pair for pair, pictures in digests.items() if asked(pair, pictures) not in seen]
    noises = ours.noises()
    if not left:
        raise FormError(f"{by} has answered every pair of these two ({len(there)}); another person may")
    pairs = [
        Pair(name, ours.prompts.get(name, name), seed, there[name, seed], either_side(), noises[name, seed])
        for name, seed in draw_order(left)
    ]
    return sittings.begin(by, version, against, pairs, _photos(ours))


def pairs_of(
    ours: VersionFiles, theirs: VersionFiles, against: str
) -> tuple[dict[tuple[str, int], dict[Side, Path]], int]:
    """Prompts and seeds of the subject that both sides drew from one noise, with their files.

    Returns:
        The pairs, and how many more there would be but for their noises, which differ.
    """
    found: dict[tuple[str, int], dict[Side, Path]] = {}
    kind, other_noises = "base" if against == BASE else "tuned", 0
    noises, other = ours.noises(), theirs.noises(kind)
    for row in ours.evaluation["pictures"] if ours.evaluation else []:
        if (row["model"], row["kind"]) != ("tuned", "subject") or ours.report is None or theirs.report is None:
            continue
        name, seed = row["prompt_id"], row["seed"]
        files: dict[Side, Path] = {
            "version": ours.report / picture_file("tuned", name, seed),
            "against": theirs.report / picture_file(kind, name, seed),
        }
        if not all(path.is_file() for path in files.values()) or ours.prompts.get(name) != theirs.prompts.get(name):
            continue
        if noises[name, seed] == other.get((name, seed)):
            found[name, seed] = files
        else:
            other_noises += 1
    return found, other_noises


def _photos(kept: VersionFiles) -> list[Path]:
    """Some photos of the subject, those first that were held out of training."""
    if kept.report is None:
        return []
    ranked = sorted(kept.photos, key=lambda photo: photo["split"] != "heldout")
    files = [kept.report / "photos" / Path(str(photo["file"])).name for photo in ranked]
    return [path for path in files if path.is_file()][:PHOTOS]


def _keep(place: Workplace, sitting: Sitting, at: str, answer: str) -> None:
    """Keep an answer and go on to the next pair; a form that is sent twice counts once."""
    with place.lock:
        if at == str(sitting.at) and sitting.at < len(sitting.pairs):
            keep_choice(place.path, _choice(sitting, answer))
            sitting.at += 1


def _choice(sitting: Sitting, answer: str) -> Choice:
    pair = sitting.pairs[sitting.at]
    if not all(path.is_file() for path in pair.files.values()):
        raise FormError(GONE)
    right: Side = "against" if pair.left == "version" else "version"
    sides: dict[str, Picked] = {"left": pair.left, "right": right, "none": "none"}
    return Choice(
        at=now(),
        by=sitting.by,
        version=sitting.version,
        against=sitting.against,
        prompt_id=pair.prompt_id,
        prompt=pair.prompt,
        seed=pair.seed,
        noise=pair.noise,
        left=pair.left,
        chosen=sides[answer],
        pictures={side: digest_file(path) for side, path in pair.files.items()},
        sitting=sitting.key,
    )


def _bare(path: Path) -> bytes:
    """A picture's pixels as PNG, without what is written in the file: it names the model."""
    from PIL import Image

    buffer = io.BytesIO()
    try:
        with Image.open(path) as image:
            clean = Image.new("RGB", image.size)
            clean.paste(image.convert("RGB"))
    except FileNotFoundError:
        raise FormError(GONE) from None
    clean.save(buffer, "PNG")
    return buffer.getvalue()
