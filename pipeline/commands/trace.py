"""`dreamtrace trace`: from a model, a file or a picture back to the photos."""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.commands.withdrawal_warning import withdrawal_fact

WHOLE_LINES = 100_000  # columns


def trace(
    ref: Annotated[
        str,
        typer.Argument(
            help="models:/NAME@ALIAS, models:/NAME/VERSION, a run's id, a model folder, a safetensors file, or a "
            "picture that a registered model drew"
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="the whole record as JSON")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="recompute every link; status 1 unless all hold")] = False,
) -> None:
    """Show what a model was made from: parameters, base, code, and each photo."""
    if not show_trace(Path(), ref, as_json, verify):
        raise typer.Exit(1)


def show_trace(workspace: Path, ref: str, as_json: bool, check: bool) -> bool:
    """Print the record behind a reference, as a tree or as JSON; with `check` the state of each link.

    Signature and pixels of a picture are checked in any case, and whether a version here has each model behind it. A
    withdrawn model is called so, also one that was trained on a withdrawn base.

    Returns:
        False where a link was found broken or could not be checked.

    Raises:
        UserError: the reference cannot be resolved, or what it names has no record.
    """

    from rich.console import Console

    from pipeline.commands.lineage_tree import lineage_tree, links_tree
    from pipeline.lineage.links import verdict
    from pipeline.lineage.verify import verify
    from pipeline.registry.lookup import find_record

    with find_record(workspace, ref) as found:
        links = [*found.own_links, *(verify(found.lineage, found.evidence(workspace)) if check else [])]
        for other in found.others if check else ():
            checked = verify(other.lineage, other.evidence(workspace))
            links += [replace(link, name=f"{other.title}: {link.name}") for link in checked]
    others = [replace(one, facts={**one.facts, **withdrawal_fact(workspace, one)}) for one in found.others]
    found = replace(found, facts={**found.facts, **withdrawal_fact(workspace, found)}, others=tuple(others))
    if as_json:
        value: dict[str, Any] = {"ref": found.title, **found.facts, "lineage": found.lineage}
        if found.others:
            value["others"] = [{"ref": one.title, **one.facts, "lineage": one.lineage} for one in found.others]
        if check:
            value["verdict"] = verdict(links)
        if links:
            value["links"] = [asdict(link) for link in links]
        print(json.dumps(value, indent=2, ensure_ascii=False))
    else:
        # Digests and captions are never cut: a terminal folds long lines, a file or a pipe gets them whole.
        console = Console(highlight=False, width=None if sys.stdout.isatty() else WHOLE_LINES)
        for one in (found, *found.others):
            console.print(lineage_tree(one.title, one.lineage, one.facts))
        if check:
            console.print(links_tree(links))
        elif links:
            console.print(links_tree(links, "the picture alone; --verify looks at the whole chain"))
    return verdict(links) != "broken" and (not check or verdict(links) == "verified")
