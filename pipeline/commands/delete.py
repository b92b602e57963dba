"""`dreamtrace delete`: the weights of versions that nobody uses."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.clean import confirmed
from pipeline.commands.errors import CommandError, registry_failures
from pipeline.environment import user_name
from pipeline.errors import counted, in_units

if TYPE_CHECKING:
    from pipeline.registry.deletion import Plan


def delete(
    refs: Annotated[list[str], typer.Argument(metavar="REF...", help="models:/NAME/VERSION, one or several")],
    reason: Annotated[str, typer.Option(help="why; kept on record")],
    by: Annotated[str, typer.Option(help="who; default: the user of this machine")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Delete the weights of registered versions; their records stay, and `trace` still works.

    A version that has an alias stays: the champion, the one before it, and a challenger until it is rejected.
    """
    from pipeline.registry.deletion import delete_weights, plan_deletion

    if not reason.strip():
        raise CommandError("--reason is empty: say why; it is kept on record")
    with registry_failures():
        plan = plan_deletion(Path(), refs)
        for line in plan_lines(plan):
            print(line)
        if not plan.size and all(one.before for one in plan.doomed):
            return
        what = f"{counted(len(plan.doomed), 'version')}, {in_units(plan.size)} in all"
        if not yes and not confirmed(f"Delete the weights of {what}? [yes/no] "):
            raise CommandError("nothing was deleted, because the answer was not yes; without a terminal, pass --yes")
        freed, problems = delete_weights(Path(), plan, by or user_name(), reason.strip())
    print(f"{in_units(freed)} are free")
    if problems:
        raise CommandError("\n".join(["not everything is gone; run the same command again:", *problems]))


def plan_lines(plan: "Plan") -> list[str]:
    """What a deletion would remove, what stays and what is lost, for a person."""
    lines = []
    for one in plan.doomed:
        if one.before:
            lines.append(f"{one.name}: {one.before}" + ("" if one.size else "; nothing is left of them"))
        if one.size or not one.before:
            lines.append(f"{in_units(one.size):>9}  {one.name}: its weights")
        if one.pictures:
            lines.append(
                f"           {counted(one.pictures, 'picture')} that it drew can still be traced to the photos"
            )
        lines += [f"           its copy at {place} is not deleted" for place in one.elsewhere]
    if plan.parts:
        lines.append(
            f"{in_units(plan.shared_size):>9}  {counted(len(plan.parts), 'file')} that no other version shares"
        )
    if plan.parts_stay:
        lines.append(f"shared files stay: {plan.parts_stay}")
    if plan.size:
        lines.append(
            "Records, verdicts and reports stay, so that `dreamtrace trace` still leads to the photos. Nothing can be "
            "drawn, exported or served with these versions any more; `dreamtrace reproduce` makes a model again."
        )
    return lines
