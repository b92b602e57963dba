"""`dreamtrace propose`: captions and masks written by programs, approved by a person."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.errors import CommandError
from pipeline.environment import user_name
from pipeline.errors import counted
from pipeline.layout import PARAMS

if TYPE_CHECKING:
    from pipeline.params import Params
    from pipeline.runs.proposals import Proposed

MODEL = "hub id or folder of the network; "
REVISION = typer.Option(help="commit, branch or tag on the hub; default: the newest")
AGAIN = typer.Option("--again", help="replace what is proposed already, with what was corrected in it")


def captions(
    model: Annotated[
        str | None,
        typer.Option(
            help=MODEL + "such as Salesforce/blip-image-captioning-base; default: the CLIP that judges, which "
            "chooses from a list of places"
        ),
    ] = None,
    revision: Annotated[str | None, REVISION] = None,
    again: Annotated[bool, AGAIN] = False,
) -> None:
    """Propose a caption for every photo without one; `propose accept` puts them into data/."""
    from pipeline.base.judges import resolve_scorer
    from pipeline.runs.caption_writers import find_writer
    from pipeline.runs.proposals import CAPTIONS, propose_captions

    params = _params()
    writer, by = find_writer(model, revision, resolve_scorer(params.evaluate, params.base) if model is None else Path())
    found = propose_captions(Path(), params, writer.write, by, again)
    for name, words in found.new.items():
        print(f"{name}: {words}")
    if _nothing_new(found, "caption"):
        return
    print(f"\n{counted(len(found.new), 'caption')} proposed in {CAPTIONS}. Correct them there;")
    print(f"`dreamtrace propose accept` takes them over, with '{params.subject.token}' put in by rule.")


def masks(
    model: Annotated[str | None, typer.Option(help=MODEL + "default: CIDAS/clipseg-rd64-refined")] = None,
    revision: Annotated[str | None, REVISION] = None,
    again: Annotated[bool, AGAIN] = False,
) -> None:
    """Propose a mask of the subject for every photo without one; `propose accept` puts them into data/masks/."""
    from pipeline.runs.mask_painters import DEFAULT, find_painter
    from pipeline.runs.proposals import PAINTED, propose_masks

    params = _params()
    name = model or DEFAULT
    found = propose_masks(Path(), params, find_painter(name, revision).paint, name, again)
    if _nothing_new(found, "mask"):
        return
    print(f"{counted(len(found.new), 'mask')} proposed in {PAINTED}: look at them, remove or repaint the wrong ones.")
    print("`dreamtrace propose accept` takes them over.")


def accept(
    photos: Annotated[list[str] | None, typer.Argument(help="photos whose proposals are right; default: all")] = None,
    by: Annotated[str, typer.Option(help="who approves; default: the user of this machine")] = "",
) -> None:
    """Take proposals over into data/; what is there already is never replaced."""
    from pipeline.runs import proposals
    from pipeline.runs.dvc_locks import only_change

    params = _params()
    with only_change(Path(), "dreamtrace propose accept"):
        done = proposals.accept(Path(), params, by.strip() or user_name(), photos or ())
    for line in done.left:
        print(line)
    print(f"{counted(len(done.captions), 'caption')} and {counted(len(done.masks), 'mask')} taken over into data/")
    if not done.captions and not done.masks:
        raise CommandError("nothing was taken over")
    print("next: dreamtrace check, then dvc add data")


def _nothing_new(found: "Proposed", what: str) -> bool:
    """Say which proposals were there already; whether there is no new one."""
    if found.kept:
        verb = "is" if len(found.kept) == 1 else "are"
        print(f"{counted(len(found.kept), what)} proposed before {verb} kept ({', '.join(found.kept)});", end=" ")
        print("--again proposes anew")
    if not found.new and not found.kept:
        print(f"every photo has a {what} already")
    return not found.new


def _params() -> "Params":
    from pipeline.params import load_params

    return load_params(Path(PARAMS))
