"""`dreamtrace check`: all that can be wrong or thin, before a run begins."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import counted, grouped
from pipeline.files import write_text

if TYPE_CHECKING:
    from pipeline.runs.readiness import Readiness


def check(
    as_json: Annotated[bool, typer.Option("--json", help="print all of it as JSON")] = False,
    html: Annotated[Path | None, typer.Option(help="write a page with every photo into this file")] = None,
    trial: Annotated[bool, typer.Option("--trial", help="make a few steps of the training, to tell its time")] = False,
) -> None:
    """Look at photos, parameters, base, judges, memory and disk before a run; exits with 1 if it cannot begin."""
    from pipeline.runs.readiness import check_readiness
    from pipeline.runs.readiness_page import page_of

    told = lambda text: print(text, file=sys.stderr)  # noqa: E731
    found = check_readiness(Path(), told, thumbnails=html is not None, trial=trial)
    if html is not None:
        write_text(html, page_of(found))
    if as_json:
        print(json.dumps(found.as_json(), indent=2, ensure_ascii=False))
    else:
        _show(found)
        if html is not None:
            print(f"page: {html.resolve()}")
    if found.problems:
        raise typer.Exit(1)


def _show(found: "Readiness") -> None:
    if found.subject:
        print(found.subject)
    for photo in found.survey.photos if found.survey else ():
        split = {"heldout": "held out", "train": "train"}.get(photo.split, "?")
        share = "" if photo.subject_share is None else f"  subject {photo.subject_share:.0%}"
        print(f"  {split:8}  {photo.width}x{photo.height}  sharpness {photo.sharpness:g}{share}  {photo.name}")
        print(f'            "{photo.caption}"')
    for name, fact in found.facts.items():
        print(f"{name:8} {fact}")
    for note in grouped(found.notes):
        print(f"note     {note}")
    for warning in grouped(found.warnings):
        print(f"warning  {warning}")
    for problem in found.problems:
        print(f"PROBLEM  {problem}")
    count = counted(len(found.problems), "problem")
    print(f"{count}: a run would stop" if found.problems else "a run can begin: dreamtrace run")
