"""`dreamtrace promote` and `rollback`: which version is the champion."""

import os
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.errors import CommandError
from pipeline.commands.flow_process import quiet_prefect
from pipeline.environment import user_name


def promote(
    ref: Annotated[str, typer.Argument(help="models:/NAME/VERSION or models:/NAME@ALIAS")],
    reason: Annotated[str, typer.Option(help="why; kept on record")] = "",
    force: Annotated[bool, typer.Option("--force", help="in spite of every objection; needs --reason")] = False,
    allow_unclean: Annotated[bool, typer.Option(help="accept code with uncommitted changes")] = False,
    ask: Annotated[bool, typer.Option("--ask", help="wait until a person approves in the Prefect UI")] = False,
    by: Annotated[str, typer.Option(help="who promotes; default: the user of this machine")] = "",
) -> None:
    """Make a version the champion, unless gates, chain, code or the present champion speak against it."""
    if force and not reason:
        raise CommandError("--force needs --reason: it is kept on record")
    if ask and not os.environ.get("PREFECT_API_URL"):
        raise CommandError("--ask needs a Prefect server that shows the question: set PREFECT_API_URL")
    quiet_prefect("CRITICAL")  # a refusal is an answer, printed once, without Prefect's stack trace
    from flows.promote import promote as promote_flow

    sentence = promote_flow(
        ref=ref,
        workspace=Path().resolve(),
        by=by or user_name(),
        reason=reason,
        force=force,
        allow_unclean=allow_unclean,
        ask=ask,
    )
    print(sentence)


def rollback(
    name: Annotated[str, typer.Argument(help="the registered model")],
    reason: Annotated[str, typer.Option(help="why; kept on record")] = "",
    by: Annotated[str, typer.Option(help="who; default: the user of this machine")] = "",
) -> None:
    """Make the previous champion the champion again."""
    from pipeline.registry.promotion import rollback as move_back
    from pipeline.registry.publication import place_of, publish_champion, told

    who = by or user_name()
    moved = move_back(Path(), name, who, reason)
    print(f"{name} version {moved.version} is the champion again, instead of version {moved.before}.")
    to = place_of(Path())
    if to is not None:
        print(told(publish_champion(Path(), name, to, who), to))
