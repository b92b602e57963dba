"""`dreamtrace reproduce`: make a model again from its record, and compare."""

from pathlib import Path
from typing import Annotated

import typer


def reproduce(
    ref: Annotated[str, typer.Argument(help="what `trace` takes")],
    into: Annotated[Path | None, typer.Option(help="the folder to work in; default: reproduced/NAME")] = None,
) -> None:
    """Make a model again from its record alone, and compare; status 1 where it came out different."""
    from pipeline.runs.reproduction import reproduce_model

    done = reproduce_model(Path(), ref, into)
    print(f"\n{done.outcome}: {done.sentence}")
    for line in done.details:
        print(f"  {line}")
    if done.outcome == "different":
        raise typer.Exit(1)
