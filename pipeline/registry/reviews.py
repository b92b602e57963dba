"""What people said about a version, and the no that takes a candidate's alias away."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.registry.aliases import CHAMPION, PREVIOUS, registered_model
from pipeline.registry.lock import promotion_lock
from pipeline.registry.lookup import registered_version
from pipeline.registry.store import connect

if TYPE_CHECKING:
    from mlflow import MlflowClient

REVIEWS = "reviews"  # tag of a version: a JSON list of reviews, the newest last
KEPT = 20
APPROVED, REJECTED = "approved", "rejected"


@dataclass(frozen=True)
class Review:
    """One person's answer. `at` is UTC, '2026-11-28 14:05'; `answer` is 'approved' or 'rejected'."""

    at: str
    by: str
    answer: str
    reason: str


@dataclass(frozen=True)
class Rejection:
    """What a rejection changed: the aliases that the version lost, and those that it has still."""

    model: str
    version: str
    lost: list[str]
    kept: list[str]

    @property
    def sentence(self) -> str:
        """The result, for a person."""
        said = f"{self.model} version {self.version} is rejected; the reason is on record"
        if self.lost:
            said += f". It is no longer {' or '.join(f'the {alias}' for alias in self.lost)}"
        if CHAMPION in self.kept:
            said += ". It is still the champion: promote another version, or roll back"
        return said + "."


def reviews_of(tags: dict[str, str]) -> list[Review]:
    """The reviews of a version, the newest last; of more than twenty the newest twenty."""
    return [Review(**line) for line in json.loads(tags.get(REVIEWS, "[]"))]


def keep_review(client: "MlflowClient", model: str, version: str, by: str, answer: str, reason: str) -> None:
    """Add a review to a version; to be called with the lock of its model held."""
    tags = client.get_model_version(model, version).tags
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    lines = [*reviews_of(tags), Review(now, by[:100], answer, reason[:2000])][-KEPT:]
    client.set_model_version_tag(model, version, REVIEWS, json.dumps([vars(line) for line in lines]))


def approve(workspace: Path, model: str, version: str, by: str, reason: str) -> None:
    """Record that a person approved a version; nothing else changes.

    Raises:
        Busy: a promotion of the model is under way.
    """
    client = connect(workspace)
    with promotion_lock(client, model, by):
        keep_review(client, model, version, by, APPROVED, reason)


def reject(workspace: Path, ref: str, by: str, reason: str) -> Rejection:
    """Record that a person does not want a version, and take the aliases of a candidate away from it.

    The champion stays the champion, and the one before it what `rollback` goes back to. The same weights, registered
    again after a new evaluation, are a candidate again.

    Raises:
        UnknownVersion: `ref` names no registered version.
        Busy: a promotion of the model is under way.
    """
    client = connect(workspace)
    version = registered_version(workspace, ref)
    name, number = str(version.name), str(version.version)
    with promotion_lock(client, name, by) as held:
        keep_review(client, name, number, by, REJECTED, reason)
        has = sorted(alias for alias, holder in registered_model(client, name).aliases.items() if str(holder) == number)
        kept = [alias for alias in has if alias in (CHAMPION, PREVIOUS)]
        lost = [alias for alias in has if alias not in kept]
        held.confirm()
        for alias in lost:
            client.delete_registered_model_alias(name, alias)
    return Rejection(name, number, lost, kept)


def rejection_objections(tags: dict[str, str]) -> list[str]:
    """What the newest review says against a promotion."""
    newest = reviews_of(tags)[-1:]
    return [f"{one.by} rejected it on {one.at}: {one.reason}" for one in newest if one.answer == REJECTED]
