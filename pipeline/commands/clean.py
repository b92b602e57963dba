"""`dreamtrace clean`: what killed, failed and cancelled work left behind."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.errors import CommandError, finite
from pipeline.errors import in_units


def clean(
    days: Annotated[
        float, typer.Option(min=0, callback=finite, help="checkpoints, pictures and runs idle for this long")
    ] = 7,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Remove half-written files, given-up checkpoints and uploads, scratch folders, and isolated
    runs that failed or are saved.

    It says first what it would free, and asks. What may be the only copy of a result stays. Registered versions stay,
    too: `dreamtrace delete` removes their weights.
    """
    from pipeline.runs.leftovers import find_leftovers, remove_leftovers

    leftovers = find_leftovers(Path(), days)
    for kept in leftovers.kept:
        print(f"stays: {kept.where} ({in_units(kept.size)}): {kept.why}")
    for problem in leftovers.problems:
        print(f"could not be searched: {problem}")
    for item in leftovers.found:
        print(f"{in_units(item.size):>9}  {item.where}: {item.why}")
    if not leftovers.found:
        print("there is nothing to remove; `dreamtrace delete` removes the weights of registered versions")
        return
    what = f"{len(leftovers.found)} leftovers" if len(leftovers.found) > 1 else "1 leftover"
    if not yes and not confirmed(f"Remove {what}, {in_units(leftovers.size)} in all? [yes/no] "):
        raise CommandError("nothing was removed, because the answer was not yes; without a terminal, pass --yes")
    freed, problems = remove_leftovers(leftovers)
    print(f"{in_units(freed)} are free")
    if problems:
        raise CommandError("\n".join(problems))


def confirmed(question: str) -> bool:
    """Ask on the terminal; only `yes` means yes."""
    try:
        return input(question).strip() == "yes"
    except EOFError:
        return False
