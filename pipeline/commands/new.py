"""`dreamtrace new`: a subject of one's own, from a folder of photos to parameters that are ready to run."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.errors import CommandError
from pipeline.errors import counted, grouped
from pipeline.layout import DATA, PARAMS

if TYPE_CHECKING:
    from pipeline.runs.new_subject import Begun, Plan

NOTES = 4  # on single files, that are shown


def new(
    photos: Annotated[str, typer.Argument(help="a folder, a .zip file or an s3:// prefix with 10 to 20 photos")],
    token: Annotated[str, typer.Option(help="a word that means nothing yet, such as gtwlb")],
    class_noun: Annotated[str, typer.Option("--class", help='what kind of thing it is, such as "plush toy"')],
    name: Annotated[str | None, typer.Option(help="of the model; the token where it is left out")] = None,
    animal: Annotated[str | None, typer.Option(help="the real animal that a toy depicts")] = None,
    start_from: Annotated[
        str | None, typer.Option(help="words that describe it; where left out, its colour and the class")
    ] = None,
    profile: Annotated[str | None, typer.Option(help="a preset; where left out, the present params.yaml")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask before photos and parameters are replaced")] = False,
) -> None:
    """Begin with photos of your own: puts them in place, with captions and parameters; what was there is kept."""
    from pipeline.runs.dvc_locks import only_change
    from pipeline.runs.new_subject import Wanted, begin_subject, plan_subject

    workspace = Path()
    if not (workspace / "dvc.yaml").is_file():
        raise CommandError(f"{workspace.resolve()} has no dvc.yaml: run this in the repository of dreamtrace")
    with only_change(workspace, "dreamtrace new"):
        print("looking at the photos", file=sys.stderr)
        plan = plan_subject(photos, workspace, Wanted(token, class_noun, name, animal, start_from, profile))
        _show_plan(plan, photos)
        if plan.replaced and not yes and not _may_replace(plan.replaced):
            raise CommandError("nothing was changed")
        begun = begin_subject(plan, workspace)
    _show_begun(begun)


def _may_replace(paths: list[Path]) -> bool:
    named = " and ".join(str(path) for path in paths)
    if not sys.stdin.isatty():
        raise CommandError(f"{named} would be replaced (and kept beside it); say --yes to do it")
    return typer.confirm(f"{named} will be replaced, and kept beside it. Go on?")


def _show_plan(plan: "Plan", source: str) -> None:
    survey, params = plan.survey, plan.params
    count, held = len(survey.photos), len(survey.photos) - survey.trained
    subject = params.subject
    print(f"{count} photos from {source}: {survey.trained} to train on, {held} held out to judge with")
    print(f'{subject.token} {subject.class_noun}: model and experiment {params.register_.model}, the token starts from '
          f'"{params.train.token.start_from}"')  # fmt: skip
    notes = grouped(survey.notes)
    for note in notes[:NOTES]:
        print(f"  {note}")
    if len(notes) > NOTES:
        print(f"  ... and {counted(len(notes) - NOTES, 'note')} more; `dreamtrace check` has all of them")
    for warning in grouped(survey.warnings):
        print(f"  warning: {warning}")


def _show_begun(begun: "Begun") -> None:
    for path in begun.kept:
        print(f"kept as {path}")
    params = begun.plan.params
    print(f"{DATA}/ and {PARAMS} are ready. Next:")
    steps = {"dreamtrace check --html check.html": "the photos with their split, and everything that can be wrong"}
    if params.base.model == "pocket":
        steps["dreamtrace profile use thesis"] = "for pictures to keep, with a GPU: pocket is a toy of 64 pixels"
    if begun.tracked:
        steps["git add data.dvc params.yaml && git commit -m 'my photos'"] = "pages run, and champions need, a commit"
    steps["dreamtrace run"] = "train, judge, register"
    width = max(map(len, steps))
    for command, purpose in steps.items():
        print(f"  {command:{width}}  {purpose}")
