"""`dreamtrace impact` and `withdraw`: which models saw a photo, and taking it out of use."""

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.clean import confirmed
from pipeline.commands.errors import CommandError, registry_failures
from pipeline.environment import user_name
from pipeline.errors import UserError, counted

if TYPE_CHECKING:
    from pipeline.registry.impact import Impact
    from pipeline.registry.photo_copies import Copies

REMAINS = """Not searched, and not deleted by --purge: weights in MLflow (`dreamtrace delete` removes them) and in model
folders, training checkpoints and drawn pictures below .dreamtrace, git's history (data.dvc, captions), DVC's
cache and remote of reports that are in no list here, archives, files outside this workspace and folders elsewhere that
links lead to, older versions of objects in S3 buckets with versioning, other clones, backups, and what was fetched from
S3 before."""


class NotConfirmed(UserError):
    """The user did not confirm."""


def impact(
    photo: Annotated[str, typer.Argument(help="a picture, altered or not, or the sha256 of one that is gone")],
    as_json: Annotated[bool, typer.Option("--json", help="the answer as JSON")] = False,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="read the whole registry again")] = False,
) -> None:
    """Which registered versions were trained on a photo."""

    from pipeline.registry.impact import impact as find_impact

    with registry_failures():
        found = find_impact(Path(), photo, rebuild)
    if as_json:
        print(json.dumps({"photo": photo, **asdict(found)}, indent=2))
        return
    _print(photo, found)


def withdraw(
    photo: Annotated[str, typer.Argument(help="what `impact` takes")],
    reason: Annotated[str, typer.Option(help="why; kept on record")] = "",
    exact: Annotated[
        bool, typer.Option("--exact", help="leave out photos that only look like it, and their versions")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    by: Annotated[str, typer.Option(help="who; default: the user of this machine")] = "",
    purge: Annotated[bool, typer.Option("--purge", help="delete the copies that are found; asks once more")] = False,
) -> None:
    """Withdraw a photo: no version trained on it, now or later, is a champion; copies are listed."""
    with registry_failures():
        run_withdrawal(Path(), photo, by, reason, exact, yes, purge)


def run_withdrawal(workspace: Path, photo: str, by: str, why: str, exact: bool, yes: bool, purge: bool = False) -> None:
    """Show what would be withdrawn, ask, do it, and say where copies remain.

    Raises:
        NotConfirmed: the answer was not yes; nothing was changed.
        CommandError: the photo is withdrawn, and not everything is done: another command works on a model, the registry
            failed, S3 could not be asked everywhere, or copies could not be removed.
        UserError: see `pipeline.registry.impact`.
    """
    from pipeline.registry.impact import impact as find_impact
    from pipeline.registry.photo_copies import find_copies
    from pipeline.registry.publication import hub_repositories, retract_versions
    from pipeline.registry.store import connect
    from pipeline.registry.withdrawal import withdraw as withdraw_versions

    found = find_impact(workspace, photo, exact=exact)
    _print(photo, found)
    affected, count = found.affected, counted(len(found.affected), "version")
    question = "Withdraw the photo, so that no version trained on it is promoted"
    if affected:
        question += f", and {count} with every alias"
    if not yes and not confirmed(f"{question}? It cannot be undone. [yes/no] "):
        raise NotConfirmed("nothing was withdrawn; without a terminal, pass --yes")
    again = _command(found.sha256, by, why, exact, purge)  # its file may be gone
    with _told_with(again):
        withdraw_versions(workspace, affected, by or user_name(), why, [(found.sha256, found.phash)])
    with _told_with(again, "the photo is withdrawn, but not everything is done: "):
        found = find_impact(workspace, photo, exact=exact)  # with what was registered while the question stood
        if late := [item for item in found.affected if item.withdrawn is None]:
            withdraw_versions(workspace, late, by or user_name(), why, [(found.sha256, found.phash)])
            print(f"Registered meanwhile, and withdrawn, too: {', '.join(item.name for item in late)}.")
        affected, count = found.affected, counted(len(found.affected), "version")
        versions = [(item.sighting.model, item.sighting.version) for item in affected]
        retracted, problems = retract_versions(workspace, versions, why or "one of its photos was withdrawn")
        repositories = {one for version in versions for one in hub_repositories(connect(workspace), *version)}
    for where in retracted:
        print(f"{where} has no champion any more.")
    for repository in sorted(repositories):
        print(
            f"{repository} on the Hugging Face hub keeps its files: delete that repository there (`hf repos delete`)."
        )
    print(f"The photo is withdrawn, and {count} with it: without aliases, and refused by every promotion from now on.")
    for version in found.recipes:
        print(f"The recipe of {version} draws with a withdrawn version and is refused: `dreamtrace recipe back|use`.")
    digests = {found.sha256, *(digest for item in affected for digest in item.sighting.all_sha256)}
    copies = find_copies(workspace, digests, affected, found.drawn_from, found.drawn_sha256)
    if purge:
        copies = _purge(workspace, copies, digests, found, yes, problems)
    _print_copies(copies)
    print(REMAINS)
    if problems:
        raise CommandError(
            f"the photo is withdrawn, but not everything is done; run `{again}`:\n"
            + "\n".join(f"  {line}" for line in problems)
        )


@contextmanager
def _told_with(again: str, done: str = "") -> Iterator[None]:
    """Around a part of a withdrawal: a failure is told with the command that finishes it.

    Args:
        done: what holds already, for failures that do not say so themselves.

    Raises:
        CommandError: it failed, and the photo is withdrawn.
        UserError: it failed before; nothing was withdrawn.
    """
    from pipeline.registry.store import told
    from pipeline.registry.withdrawal import Unfinished

    try:
        yield
    except Exception as error:
        known = told(error)
        if known is None or not (done or isinstance(known, Unfinished)):
            raise
        said = str(known) if isinstance(known, Unfinished) else f"{done}{known}"
        failed = CommandError(f"{said}\n`{again}` finishes it")
        failed.status = known.status
        raise failed from None


def _command(sha256: str, by: str, why: str, exact: bool, purge: bool) -> str:
    """The command that finishes a withdrawal, for a shell: with the same options, so that what it adds to the record
    has the same reason and name.
    """
    words = ["dreamtrace", "withdraw", sha256, *["--exact"] * exact, *["--purge"] * purge]
    words += [*(["--reason", why] if why else []), *(["--by", by] if by else [])]
    return shlex.join(words)


def _purge(
    workspace: Path, copies: "Copies", digests: set[str], found: "Impact", yes: bool, problems: list[str]
) -> "Copies":
    """Delete copies after a second question, and look again; what is still there is added to `problems`."""
    from pipeline.registry.photo_copies import find_copies, purge

    if not copies.found:
        problems += [f"could not be searched: {problem}" for problem in copies.problems]
        return copies
    _print_copies(copies)
    count = "1 copy" if len(copies.found) == 1 else f"{len(copies.found)} copies"
    if not yes and not confirmed(f"Delete {count} for good? [yes/no] "):
        problems.append("nothing was deleted, because the answer was not yes")
        return copies
    problems += purge(copies.found)
    left = find_copies(workspace, digests, found.affected, found.drawn_from, found.drawn_sha256)
    problems += [f"{copy.where} is still there" for copy in left.found]
    problems += [f"could not be searched: {problem}" for problem in left.problems]
    places = f", and {counted(len(left.problems), 'place')} could not be searched" if left.problems else ""
    print(f"{count} deleted and looked for again: {len(left.found)} left{places}.")
    return left


def _print_copies(copies: "Copies") -> None:
    for copy in copies.found:
        print(f"copy: {copy.kind}: {copy.where}")
    for problem in copies.problems:
        print(f"could not be searched: {problem}")


def _print(photo: str, found: "Impact") -> None:
    if not found.affected:
        print(f"No registered version whose photos are known was trained on {photo}.")
    for line in (*(item.line for item in found.affected), *found.further):
        print(line)
