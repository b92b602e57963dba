"""`dreamtrace reproduce`: make a model again from its record, and compare."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def reproduce(
    ref: Annotated[str, typer.Argument(help="what `trace` takes")],
    into: Annotated[Path | None, typer.Option(help="the folder to work in; default: reproduced/NAME")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="run the patch of a record from elsewhere without asking")] = False,
) -> None:
    """Make a model again from its record alone, and compare; status 1 where it came out different.

    A record that was read from a folder or file, and not from the registry, may come from anybody: its patch is shown
    before it runs.
    """
    from pipeline.runs.reproduction import reproduce_model

    done = reproduce_model(Path(), ref, into, lambda patch: yes or _confirmed(patch))
    print(f"\n{done.outcome}: {done.sentence}")
    for line in done.details:
        print(f"  {line}")
    if done.outcome == "different":
        raise typer.Exit(1)


def _confirmed(patch: str) -> bool:
    """Show the patch and ask; without a terminal the answer is no."""
    print(visible(patch))
    if not sys.stdin.isatty():
        print("this patch is part of the record and would run with your rights; without a terminal, pass --yes")
        return False
    return typer.confirm("This patch is part of the record and runs with your rights. Run it?", default=False)


def visible(text: str) -> str:
    """A text without control characters, which could hide lines of it on a terminal."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else repr(letter)[1:-1] for letter in text)
