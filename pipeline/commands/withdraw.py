"""`dreamtrace impact` and `withdraw`: a photo must go."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.environment import user_name
from pipeline.errors import UserError

if TYPE_CHECKING:
    from pipeline.registry.impact import Affected, Impact


class NotConfirmed(UserError):
    """The person did not say yes."""


def impact(
    photo: Annotated[str, typer.Argument(help="a picture, altered or not, or the sha256 of one that is gone")],
    as_json: Annotated[bool, typer.Option("--json", help="the answer as JSON")] = False,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="read the whole registry again")] = False,
) -> None:
    """Which registered versions were trained on a photo."""

    from pipeline.registry.impact import impact as find_impact

    found = find_impact(Path(), photo, rebuild)
    if as_json:
        print(json.dumps({"photo": photo, **asdict(found)}, indent=2))
        return
    _print(photo, found)


def withdraw(
    photo: Annotated[str, typer.Argument(help="what `impact` takes")],
    reason: Annotated[str, typer.Option(help="why; kept on record")] = "",
    exact: Annotated[bool, typer.Option("--exact", help="leave out versions of a photo that only looks alike")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    by: Annotated[str, typer.Option(help="who; default: the user of this machine")] = "",
) -> None:
    """Take every version that was trained on a photo out of use, for good."""
    run_withdrawal(Path(), photo, by, reason, exact, yes)


def run_withdrawal(workspace: Path, photo: str, by: str, why: str, exact: bool, yes: bool) -> None:
    """Show what would be withdrawn, ask, and do it.

    Raises:
        NotConfirmed: the answer was not yes; nothing was changed.
        UserError: see `pipeline.registry.impact`.
    """
    from pipeline.registry.impact import Impact
    from pipeline.registry.impact import impact as find_impact
    from pipeline.registry.publication import place_of, retract_versions
    from pipeline.registry.withdrawal import withdraw as withdraw_versions

    found = find_impact(workspace, photo)
    affected = [item for item in found.affected if item.sighting.exact or not exact]
    _print(photo, Impact(affected, found.unresolved, found.without_hash))
    if not affected:
        return
    count = _count(len(affected), "version")
    if not yes and not _confirmed(f"Withdraw {count}, and take every alias away? It cannot be undone. [yes/no] "):
        raise NotConfirmed("nothing was withdrawn; without a terminal, pass --yes")
    withdraw_versions(workspace, affected, by or user_name(), why)
    to = place_of(workspace)
    if to is not None:
        told = why or "one of its photos was withdrawn"
        for model in retract_versions(to, [(item.sighting.model, item.sighting.version) for item in affected], told):
            print(f"{to.rstrip('/')}/{model} has no champion any more; its files stay there until you delete them.")
    print(f"{count} withdrawn: without aliases, and refused by every promotion from now on.")


def _confirmed(question: str) -> bool:
    try:
        return input(question).strip() == "yes"
    except EOFError:
        return False


def _print(photo: str, found: "Impact") -> None:
    if not found.affected:
        print(f"No registered version whose photos are known was trained on {photo}.")
    for item in found.affected:
        print(f"{item.name}{_aliases(item)}{_how(item)}{f' [{item.withdrawn}]' if item.withdrawn else ''}")
    for row in found.unresolved:
        print(f"unknown: {row.model} version {row.version}: {row.problem}")
    if found.without_hash:
        print(f"{_count(found.without_hash, 'photo')} of older records would be recognised by exact copies only")


def _aliases(item: "Affected") -> str:
    return f" ({', '.join(item.aliases)})" if item.aliases else ""


def _how(item: "Affected") -> str:
    if item.sighting.exact:
        return ""
    return f": an altered copy, {item.sighting.distance} of 64 bits differ from photo {item.sighting.sha256[:16]}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
