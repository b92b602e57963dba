"""Photos that were withdrawn: a list of the whole registry, for every model, those to come included.

It is a registered model without versions that has a tag for each photo, `photo.<sha256>`, so that it grows without
limit where one tag would overflow.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pipeline.photos.similarity import NEAR, hash_distance

if TYPE_CHECKING:
    from mlflow import MlflowClient

LIST = "dreamtrace.withdrawn-photos"
PREFIX = "photo."
LEGACY = "withdrawn_photos"  # tag of a registered model, in registries of earlier versions: sha256, joined by commas
LONGEST_REASON = 2000  # characters, so that the tag stays below the 5,000 of MLflow's database


@dataclass(frozen=True)
class WithdrawnPhoto:
    """A photo that nothing may be trained on. `phash` (16 hexadecimal digits) finds altered copies; None: exact."""

    sha256: str
    phash: str | None
    by: str
    at: str
    reason: str


@dataclass(frozen=True)
class Matches:
    """Photos of a version that were withdrawn: the files themselves, and photos that look like a withdrawn one."""

    exact: list[str]
    near: list[str]


def withdrawn_photos(client: "MlflowClient", name: str | None = None) -> dict[str, WithdrawnPhoto]:
    """Every withdrawn photo by its sha256; with those that an earlier version kept beside the model `name`."""
    from mlflow.exceptions import MlflowException

    found: dict[str, WithdrawnPhoto] = {}
    if name is not None:
        for digest in _tags(client, name).get(LEGACY, "").split(","):
            if digest:
                found[digest] = WithdrawnPhoto(digest, None, "unknown", "unknown", "")
    try:
        tags = client.get_registered_model(LIST).tags
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return found
    for key, value in tags.items():
        if key.startswith(PREFIX):
            digest = key.removeprefix(PREFIX)
            found[digest] = _read(digest, value)
    return found


def record_withdrawn(client: "MlflowClient", photos: Iterable[WithdrawnPhoto]) -> None:
    """Add photos to the list; one that is there keeps its first entry, and gets a hash if it had none."""
    from mlflow.exceptions import MlflowException

    known = withdrawn_photos(client)
    try:
        client.create_registered_model(LIST, description="Photos that no model may be trained on; see docs/registry.md")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    for photo in photos:
        kept = known.get(photo.sha256)
        if kept and (kept.phash or not photo.phash):
            continue
        fresh = asdict(photo if kept is None else WithdrawnPhoto(**{**asdict(kept), "phash": photo.phash}))
        del fresh["sha256"]
        fresh["reason"] = fresh["reason"][: LONGEST_REASON // (1 if fresh["reason"].isascii() else 6)]
        client.set_registered_model_tag(LIST, PREFIX + photo.sha256, json.dumps(fresh, sort_keys=True))


def matches(files: Iterable[Mapping[str, Any]], withdrawn: Mapping[str, WithdrawnPhoto]) -> Matches:
    """Which of a version's photos (`sha256`, `phash`, `source` or none) were withdrawn."""
    hashes = [int(photo.phash, 16) for photo in withdrawn.values() if photo.phash]
    exact, near = [], []
    for photo in files:
        label = str(photo.get("source") or photo["sha256"][:16])
        if photo["sha256"] in withdrawn:
            exact.append(label)
        elif photo.get("phash") and any(hash_distance(int(photo["phash"], 16), known) <= NEAR for known in hashes):
            near.append(label)
    return Matches(exact, near)


def _tags(client: "MlflowClient", name: str) -> dict[str, str]:
    from mlflow.exceptions import MlflowException

    try:
        return dict(client.get_registered_model(name).tags)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return {}


def _read(digest: str, value: str) -> WithdrawnPhoto:
    """An entry that somebody spoiled still withdraws its photo."""
    try:
        kept = json.loads(value)
        phash = kept.get("phash")
        if phash is not None:
            int(phash, 16)
        return WithdrawnPhoto(
            digest, phash, str(kept.get("by", "?")), str(kept.get("at", "?")), str(kept.get("reason", ""))
        )
    except (ValueError, TypeError, AttributeError):
        return WithdrawnPhoto(digest, None, "unknown", "unknown", "its entry cannot be read")
