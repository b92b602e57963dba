"""Who moved the champion, when and why; and what a command that was cut off had begun.

Two tags of the registered model: `promotions` has the newest lines of the history, `promotion_under_way` the move that
somebody began. The whole line of a promotion is kept in the tag `promotion` of the version as well; while a move is
under way, `promotion_before` has what that tag said before, for a move that is undone.
"""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pipeline.lineage.tags import WITHDRAWN
from pipeline.registry.aliases import CHAMPION, PREVIOUS, registered_model

if TYPE_CHECKING:
    from mlflow import MlflowClient

HISTORY = "promotions"
UNDER_WAY = "promotion_under_way"
PROMOTION, BEFORE = "promotion", "promotion_before"  # tags of a version
ROOM = 4800  # characters; MLflow's database keeps 5,000 in a tag of a registered model
VERSION_ROOM = 90_000  # and 100,000 in one of a version
SHORTENED = "... [shortened]"


@dataclass(frozen=True)
class Moved:
    """One line of the history; `approved_by` is who approved it, None where nobody was asked."""

    version: str
    before: str | None
    at: str
    by: str
    why: str
    decision: str
    forced: bool
    approved_by: str | None = None


def history(client: "MlflowClient", name: str) -> list[dict[str, Any]]:
    """Who moved the champion when and why, the newest last; the oldest lines may have been dropped."""
    return list(json.loads(registered_model(client, name).tags.get(HISTORY, "[]")))


def begin(client: "MlflowClient", name: str, line: Moved, previous: str | None) -> None:
    """Keep what is about to be done: the first write of a move. `previous` had the alias `previous-champion`."""
    former = client.get_model_version(name, line.version).tags.get(PROMOTION)
    kept = {"line": shortened(asdict(line), ROOM - 200), "previous": previous, "first": former is None}
    client.set_registered_model_tag(name, UNDER_WAY, json.dumps(kept))
    if former is not None:
        client.set_model_version_tag(name, line.version, BEFORE, former)
    text = json.dumps(shortened(asdict(line), VERSION_ROOM), sort_keys=True)
    client.set_model_version_tag(name, line.version, PROMOTION, text)


def finish(client: "MlflowClient", name: str, line: dict[str, Any]) -> None:
    """Put a line into the history, unless it is there; the last writes of a move."""
    lines, line = history(client, name), shortened(line, ROOM - 200)
    if not any(_same(line, kept) for kept in lines):
        lines.append(line)
        while len(json.dumps(lines)) > ROOM and len(lines) > 1:
            lines.pop(0)
        client.set_registered_model_tag(name, HISTORY, json.dumps(lines))
    if BEFORE in client.get_model_version(name, line["version"]).tags:
        client.delete_model_version_tag(name, line["version"], BEFORE)
    if UNDER_WAY in registered_model(client, name).tags:
        client.delete_registered_model_tag(name, UNDER_WAY)


def settle(client: "MlflowClient", name: str) -> Moved | None:
    """Clear up after a command that was cut off; to be called with the lock held.

    Where the champion had moved already, the rest of the move is done, and its line returned. Where it had not,
    `previous-champion` and the version's tag are put back to what they were, and None returned.
    """
    from mlflow.exceptions import MlflowException

    model = registered_model(client, name)
    if UNDER_WAY not in model.tags:
        return None
    kept = json.loads(model.tags[UNDER_WAY])
    line, previous = kept["line"], kept["previous"]
    if str(model.aliases.get(CHAMPION)) == line["version"]:
        finish(client, name, line)
        return Moved(**line)
    if previous is None:
        if PREVIOUS in model.aliases:
            client.delete_registered_model_alias(name, PREVIOUS)
    else:
        with suppress(MlflowException):  # that version was deleted in the meantime
            if WITHDRAWN not in client.get_model_version(name, previous).tags:
                client.set_registered_model_alias(name, PREVIOUS, previous)
    try:
        _forget(client, name, line["version"], kept.get("first", False))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":  # that version was deleted in the meantime
            raise
    client.delete_registered_model_tag(name, UNDER_WAY)
    return None


def _forget(client: "MlflowClient", name: str, number: str, first: bool) -> None:
    """Give the version of a move that is undone the tag of its former promotion back; `first`: it had none."""
    tags = client.get_model_version(name, number).tags
    if first and PROMOTION in tags:
        client.delete_model_version_tag(name, number, PROMOTION)
    elif BEFORE in tags:
        client.set_model_version_tag(name, number, PROMOTION, tags[BEFORE])
        client.delete_model_version_tag(name, number, BEFORE)


def shortened(line: dict[str, Any], room: int) -> dict[str, Any]:
    """The line with as much of its reason as fits into `room` characters of JSON."""
    if len(json.dumps(line)) <= room:
        return line
    low, high = 0, len(line["why"])  # bisected: a character takes 1 to 12 in JSON
    while low < high:
        middle = (low + high + 1) // 2
        if len(json.dumps({**line, "why": line["why"][:middle] + SHORTENED})) <= room:
            low = middle
        else:
            high = middle - 1
    return {**line, "why": line["why"][:low] + SHORTENED}


def _same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return all(first[key] == second[key] for key in ("version", "before", "at", "by", "decision", "why"))
