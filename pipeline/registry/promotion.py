"""Moving the champion: a version is promoted, or the previous champion comes back."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.lineage.tags import WITHDRAWN
from pipeline.registry.aliases import CHAMPION, PREVIOUS, alias_of, champion_of
from pipeline.registry.examination import Examined, Refused, examine, recipe_objections, withdrawal_objections
from pipeline.registry.lock import promotion_lock
from pipeline.registry.promotion_history import Moved, begin, finish, settle
from pipeline.registry.store import connect
from pipeline.registry.version_photos import PhotosUnknown, version_photos
from pipeline.registry.withdrawn_photos import Matches, matches, withdrawn_photos

if TYPE_CHECKING:
    from mlflow import MlflowClient


def promote(
    workspace: Path,
    examined: Examined,
    by: str,
    why: str = "",
    force: bool = False,
    allow_unclean: bool = False,
    approved_by: str | None = None,
) -> Moved | None:
    """Make the examined version the champion and keep the one before; None where it is the champion already.

    Hours may lie between the examination and this call, so that the version is examined again with the lock held.
    `previous-champion` moves first: the champion is one complete version whenever this is cut off, and the same command
    finishes the work.

    Args:
        by: who promotes.
        why: kept on record.
        force: override the objections that `examined` lists; a withdrawal cannot be overridden.
        allow_unclean: as in the examination.
        approved_by: who answered the question whether to promote.

    Raises:
        Refused: there are objections, and it is not forced; or something has changed since it was examined.
        Busy: another promotion is under way.
    """
    refuse(examined, force)
    client = connect(workspace)
    with promotion_lock(client, examined.model, by, work="promoting a version") as held:
        held.confirm()
        settled = settle(client, examined.model)
        now = examine(workspace, f"models:/{examined.model}/{examined.version}", allow_unclean)
        refuse(now, force)
        if now.champion == examined.version:
            return settled
        if now.champion != examined.champion:
            raise Refused(
                f"the champion of {examined.model} has changed from {examined.champion or 'none'} to "
                f"{now.champion or 'none'} since version {examined.version} was compared with it; promote again"
            )
        fresh = [line for line in now.objections if line not in examined.objections]
        if fresh:
            raise Refused(
                f"{examined.model} version {examined.version} has changed since it was examined; promote again:\n"
                + "\n".join(f"  {line}" for line in fresh)
            )
        reasons = [why] if why else []
        if force and now.objections:
            reasons.append("overridden: " + "; ".join(now.objections))
        line = Moved(
            examined.version, now.champion, _now(), by, ". ".join(reasons), now.decision, force, approved_by
        )  # fmt: skip
        held.confirm()
        _move(client, examined.model, line)
        return line


def rollback(workspace: Path, name: str, by: str, why: str = "") -> Moved:
    """Make the previous champion the champion again; the two change places. Cut off, the same command finishes it.

    Raises:
        UnknownModel: the registry has no such model.
        Refused: there is none, or it, or a version that its recipe draws with, was withdrawn or deleted.
        Busy: a promotion is under way.
    """
    client = connect(workspace)
    champion_of(client, name)
    with promotion_lock(client, name, by, work="going back to the previous champion") as held:
        held.confirm()
        settled = settle(client, name)
        if settled is not None and settled.decision == "rollback":
            return settled
        now, then = champion_of(client, name), alias_of(client, name, PREVIOUS)
        if then is None or then == now:
            raise Refused(f"{name} has no previous champion to go back to")
        _refuse_withdrawn(client, name, then)
        line = Moved(then, now, _now(), by, why, "rollback", False)
        held.confirm()
        _move(client, name, line)
        return line


def _move(client: "MlflowClient", name: str, line: Moved) -> None:
    """Write what is begun, then the alias of the former champion, then the champion's, then the history."""
    begin(client, name, line, alias_of(client, name, PREVIOUS))
    if line.before is not None:
        client.set_registered_model_alias(name, PREVIOUS, line.before)
    client.set_registered_model_alias(name, CHAMPION, line.version)
    finish(client, name, vars(line))


def refuse(examined: Examined, force: bool = False) -> None:
    """Stop where something speaks against a promotion.

    Raises:
        Refused: there are objections that `force` does not override; the message lists them.
    """
    against = examined.forbidden if force else [*examined.forbidden, *examined.objections]
    if not against:
        return
    way_on = (
        "no --force overrides that"
        if examined.forbidden
        else "`--force --reason WHY` promotes it all the same and keeps the reason on record"
    )
    raise Refused(
        f"{examined.model} version {examined.version} is not promoted:\n"
        + "\n".join(f"  {line}" for line in against)
        + f"\n{way_on}"
    )


def _refuse_withdrawn(client: "MlflowClient", name: str, number: str) -> None:
    version = client.get_model_version(name, number)
    if WITHDRAWN in version.tags:
        raise Refused(f"{name} version {number}, the previous champion, was withdrawn")
    withdrawn = withdrawn_photos(client, name)
    try:
        found = matches(version_photos(version), withdrawn) if withdrawn else Matches([], [])
    except PhotosUnknown as error:
        raise Refused(
            f"{name} version {number}, the previous champion, may have been trained on a withdrawn photo: {error}"
        ) from None
    forbidden, _ = withdrawal_objections(client, version.tags, found, str(version.tags.get("base_digest", "")))
    unusable, _ = recipe_objections(client, dict(version.tags), f"{name} version {number}")
    if forbidden := [*forbidden, *unusable]:
        raise Refused(f"{name} version {number}, the previous champion, cannot come back: {forbidden[0]}")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
