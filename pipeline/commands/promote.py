"""`dreamtrace promote`, `rollback` and `reject`: which version is the champion, and which will not be."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.errors import CommandError, registry_failures
from pipeline.commands.flow_process import prepare_servers
from pipeline.commands.publish import publish_where_set
from pipeline.environment import user_name


def promote(
    ref: Annotated[str, typer.Argument(help="models:/NAME/VERSION or models:/NAME@ALIAS")],
    reason: Annotated[str, typer.Option(help="why; kept on record")] = "",
    force: Annotated[
        bool, typer.Option("--force", help="override all objections but withdrawal and deleted weights; needs --reason")
    ] = False,
    allow_unclean: Annotated[bool, typer.Option(help="accept code with uncommitted changes")] = False,
    ask: Annotated[bool, typer.Option("--ask", help="wait until a person approves in the Prefect UI")] = False,
    by: Annotated[str, typer.Option(help="who promotes; default: the user of this machine")] = "",
) -> None:
    """Make a version the champion, unless its gates, chain, code, a withdrawal or the present champion forbid it."""
    if force and not reason.strip():
        raise CommandError("--force needs --reason: it is kept on record")
    from pipeline.registry.lookup import registered_version

    with registry_failures():
        prepare_servers(Path(), page=ask, first=lambda: registered_version(Path(), ref))
    from flows.promote import promote as promote_flow

    with registry_failures():
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


def reject(
    ref: Annotated[str, typer.Argument(help="models:/NAME/VERSION or models:/NAME@ALIAS")],
    reason: Annotated[str, typer.Option(help="why; kept on record")],
    by: Annotated[str, typer.Option(help="who; default: the user of this machine")] = "",
) -> None:
    """Record that a version is not wanted; it is no challenger, and --force or a later yes promotes it."""
    from pipeline.registry.approval import reject as turn_down

    if not reason.strip():
        raise CommandError("--reason is empty: say why; it is kept on record")
    with registry_failures():
        print(turn_down(Path(), ref, by or user_name(), reason.strip()).sentence)


def rollback(
    name: Annotated[str, typer.Argument(help="the registered model")],
    reason: Annotated[str, typer.Option(help="why; kept on record")] = "",
    by: Annotated[str, typer.Option(help="who; default: the user of this machine")] = "",
) -> None:
    """Make the previous champion the champion again; after an interruption the same command finishes."""
    from pipeline.registry.promotion import rollback as move_back

    who = by or user_name()
    with registry_failures():
        moved = move_back(Path(), name, who, reason)
        print(f"{name} version {moved.version} is the champion again, instead of version {moved.before}.")
        publish_where_set(name, who, "The rollback itself is done")
