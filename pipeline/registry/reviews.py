"""What people said about a version: their reviews, kept in a tag of it."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

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

    @property
    def when(self) -> str:
        """The time for a person, who may live elsewhere."""
        return f"{self.at} UTC"


def reviews_of(tags: dict[str, str]) -> list[Review]:
    """The reviews of a version, the newest last; of more than twenty the newest twenty."""
    return [Review(**line) for line in json.loads(tags.get(REVIEWS, "[]"))]


def keep_review(client: "MlflowClient", model: str, version: str, by: str, answer: str, reason: str) -> None:
    """Add a review to a version; to be called with the lock of its model held."""
    tags = client.get_model_version(model, version).tags
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    lines = [*reviews_of(tags), Review(now, by[:100], answer, reason[:2000])][-KEPT:]
    client.set_model_version_tag(model, version, REVIEWS, json.dumps([vars(line) for line in lines]))


def rejection_of(tags: dict[str, str]) -> Review | None:
    """The rejection that holds: the newest review of a version, if it is one."""
    newest = reviews_of(tags)[-1:]
    return newest[0] if newest and newest[0].answer == REJECTED else None


def rejection_objections(tags: dict[str, str]) -> list[str]:
    """What the newest review says against a promotion."""
    found = rejection_of(tags)
    return [f"{found.by} rejected it on {found.when}: {found.reason}"] if found else []
