"""Which version is the champion: what may become it, how the alias moves, and who moved it when and why."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import UserError
from pipeline.evaluation.comparison import NotComparable, compare
from pipeline.layout import EVALUATION
from pipeline.lineage.links import Evidence, verdict
from pipeline.lineage.verify import verify
from pipeline.registry.lock import promotion_lock
from pipeline.registry.lookup import Found, find_record, read_evaluation
from pipeline.registry.store import connect
from pipeline.registry.versions import WITHDRAWN

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION, PREVIOUS = "champion", "previous-champion"
HISTORY = "promotions"  # tag of the registered model: who moved the champion, the newest last
ROOM = 4800  # characters of a tag; older lines make way
BANNED = "withdrawn_photos"  # tag of a registered model: sha256 of photos that nothing may be trained on any more


class Refused(UserError):
    """The version may not become the champion; the message lists why."""


@dataclass(frozen=True)
class Examined:
    """What was found out about a version before it may become the champion."""

    model: str
    version: str
    champion: str | None
    objections: list[str]
    comparison: dict[str, Any] | None
    report: str

    @property
    def decision(self) -> str:
        """How it compares with the champion."""
        return "no champion yet" if self.champion is None else (self.comparison or {}).get("decision", "not comparable")


@dataclass(frozen=True)
class Moved:
    """One line of the history."""

    version: str
    before: str | None
    at: str
    by: str
    why: str
    decision: str
    forced: bool


def examine(workspace: Path, ref: str, allow_unclean: bool = False) -> Examined:
    """All that speaks against making a version the champion: gates, code, withdrawal, the chain, the champion itself.

    Raises:
        UnknownVersion: `ref` names no registered version.
        Refused: it is not registered.
    """
    client = connect(workspace)
    with find_record(workspace, ref) as found:
        name, number, tags = _registered(found, ref)
        objections = [
            *_gates(tags),
            *_withdrawn(client, name, found),
            *_clean(found, allow_unclean),
            *_chain(workspace, found),
        ]
        champion = champion_of(client, name)
        comparison = None
        if champion not in (None, number):
            comparison, against = _compare(workspace, name, str(champion), found)
            objections += against
        digest = str(tags.get("content_digest"))[:16]
        return Examined(
            name, number, champion, objections, comparison, f"runs:/{found.facts['MLflow run']}/report/{digest}"
        )


def promote(workspace: Path, examined: Examined, by: str, why: str = "", force: bool = False) -> Moved | None:
    """Make the examined version the champion and keep the one before; None where it is the champion already.

    `previous-champion` moves first, so that the champion is one complete version whenever this is cut off, and the same
    command finishes the work.

    Raises:
        Refused: there are objections, and it is not forced; or the champion has changed since it was examined.
        Busy: another promotion is under way.
    """
    if examined.objections and not force:
        raise Refused(
            f"{examined.model} version {examined.version} is not promoted:\n"
            + "\n".join(f"  {line}" for line in examined.objections)
            + "\n`--force --reason WHY` promotes it all the same and keeps the reason on record"
        )
    client = connect(workspace)
    with promotion_lock(client, examined.model, by):
        before = champion_of(client, examined.model)
        if before == examined.version:
            _complete(client, examined.model, before)
            return None
        if before != examined.champion:
            raise Refused(
                f"the champion of {examined.model} has changed from {examined.champion or 'none'} to {before} since "
                f"version {examined.version} was compared with it; promote again"
            )
        reasons = [why] if why else []
        if force and examined.objections:
            reasons.append("in spite of: " + "; ".join(examined.objections))
        line = Moved(examined.version, before, _now(), by, ". ".join(reasons), examined.decision, force)
        _move(client, examined.model, line)
        return line


def rollback(workspace: Path, name: str, by: str, why: str = "") -> Moved:
    """Make the previous champion the champion again; the two change places.

    Raises:
        Refused: there is no previous champion, or it was withdrawn.
        Busy: a promotion is under way.
    """
    client = connect(workspace)
    with promotion_lock(client, name, by):
        now, then = champion_of(client, name), alias_of(client, name, PREVIOUS)
        if then is None or then == now:
            raise Refused(f"{name} has no previous champion to go back to")
        if WITHDRAWN in client.get_model_version(name, then).tags:
            raise Refused(f"{name} version {then}, the previous champion, was withdrawn")
        line = Moved(then, now, _now(), by, why, "rollback", False)
        _move(client, name, line)
        return line


def history(client: "MlflowClient", name: str) -> list[dict[str, Any]]:
    """Who moved the champion when and why, the newest last; the oldest lines may have made way."""
    return list(json.loads(client.get_registered_model(name).tags.get(HISTORY, "[]")))


def champion_of(client: "MlflowClient", name: str) -> str | None:
    """The version that is the champion."""
    return alias_of(client, name, CHAMPION)


def alias_of(client: "MlflowClient", name: str, alias: str) -> str | None:
    """The version with an alias."""
    found = client.get_registered_model(name).aliases.get(alias)
    return None if found is None else str(found)


def banned(client: "MlflowClient", name: str) -> set[str]:
    """sha256 of the photos that were withdrawn from a registered model."""
    kept = client.get_registered_model(name).tags.get(BANNED, "")
    return {digest for digest in kept.split(",") if digest}


def _move(client: "MlflowClient", name: str, line: Moved) -> None:
    """The record first, then the alias of the one before, then the champion's: cut off anywhere, nothing is lost."""
    client.set_model_version_tag(name, line.version, "promotion", json.dumps(asdict(line), sort_keys=True))
    if line.before is not None:
        client.set_registered_model_alias(name, PREVIOUS, line.before)
    client.set_registered_model_alias(name, CHAMPION, line.version)
    _remember(client, name, asdict(line))


def _complete(client: "MlflowClient", name: str, version: str) -> None:
    """Put into the history what a promotion that was cut off had only written beside its version."""
    kept = client.get_model_version(name, version).tags.get("promotion")
    if kept and json.loads(kept) not in history(client, name):
        _remember(client, name, json.loads(kept))


def _remember(client: "MlflowClient", name: str, line: dict[str, Any]) -> None:
    lines = [*history(client, name), line]
    while len(json.dumps(lines)) > ROOM and len(lines) > 1:
        lines.pop(0)
    client.set_registered_model_tag(name, HISTORY, json.dumps(lines))


def _registered(found: Found, ref: str) -> tuple[str, str, dict[str, str]]:
    if found.tags is None or " version " not in found.title:
        raise Refused(f"'{ref}' is not a registered version: only those can be promoted; name models:/NAME/VERSION")
    name, _, number = found.title.rpartition(" version ")
    return name, number, found.tags


def _gates(tags: dict[str, str]) -> list[str]:
    if tags.get("validation_status") == "approved":
        return []
    said = tags.get("verdict", "it was never judged")
    return [f"the gates: {said}"]


def _withdrawn(client: "MlflowClient", name: str, found: Found) -> list[str]:
    if found.tags and WITHDRAWN in found.tags:
        return [f"it was withdrawn: {found.tags[WITHDRAWN]}"]
    gone = banned(client, name)
    seen = [photo["source"] for photo in found.lineage["photos"]["files"] if photo["sha256"] in gone]
    return [f"it was trained on photos that were withdrawn: {', '.join(seen)}"] if seen else []


def _clean(found: Found, allowed: bool) -> list[str]:
    code = found.lineage["code"]
    if code["commit"] is None:
        return ["the code: it was trained outside of git, so nobody can tell by what"]
    if code["clean"] or allowed:
        return []
    state = "with uncommitted changes" if code["clean"] is False else "in an unknown state"
    return [f"the code: it was trained {state} (`--allow-unclean` accepts that)"]


def _chain(workspace: Path, found: Found) -> list[str]:
    links = verify(found.lineage, Evidence(workspace, found.model, found.tags, found.files, found.header))
    if verdict(links) == "verified":
        return []
    faults = [link for link in links if link.state != "verified"]
    return [f"the chain: {link.name} is {link.state}: {link.detail}" for link in faults]


def _compare(workspace: Path, name: str, champion: str, found: Found) -> tuple[dict[str, Any] | None, Sequence[str]]:
    with find_record(workspace, f"models:/{name}/{champion}") as other:
        try:
            comparison = compare(_judged(other), _judged(found))
        except (NotComparable, ValueError, OSError) as error:
            return None, [f"the champion, version {champion}: {error}"]
    if comparison["decision"] == "better":
        return comparison, []
    return comparison, [f"the champion, version {champion}: {comparison['sentence']}"]


def _judged(found: Found) -> dict[str, Any]:
    assert found.files is not None
    return read_evaluation(found.files / EVALUATION.name)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
