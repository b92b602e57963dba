"""A champion on S3: a folder that never changes, and a pointer to it that moves in one write.

`published` says what lies where. Whoever reads the pointer first and then what it names sees one whole model, whatever
is being written meanwhile.
"""

import hashlib
import json
import re
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.files import digest_value
from pipeline.storage.published import (
    FORMAT,
    LIST,
    POINTER,
    Listing,
    key_of,
    list_files,
    part_key,
    read_listing,
    without_places,
)
from pipeline.storage.s3 import ChangedMeanwhile, Place, StorageError, Store, read_json_object, read_url

SAME = ("version", "folder", "files_sha256", "recipe_digest")  # of two pointers to the same, drawn in the same way
TRIES = 3


@dataclass(frozen=True)
class Published:
    """The result: the pointer as it is now, and how many bytes were sent."""

    pointer: dict[str, Any]
    sent: int
    moved: bool


def publish(
    place: Place,
    facts: dict[str, str],
    folders: dict[str, Path],
    is_champion: Callable[[], bool],
    store: Store | None = None,
    exclusively: Callable[[], AbstractContextManager[Any]] = nullcontext,
    shared: Collection[Path] = (),
) -> Published:
    """Bring a champion to S3 and point to it; files that are there already are not sent again.

    Args:
        facts: `model`, `version`, `content_digest`, `by`, perhaps `recipe` (JSON) and `recipe_digest`, and whatever
            else the pointer shall hold.
        folders: local folders by their name there ("model", "record").
        is_champion: whether it is still the champion; asked before the pointer moves. It may raise ChangedMeanwhile.
        shared: those of the local files that other versions have too; they are kept once for all of them.
        exclusively: held while that is asked and the pointer moves, so that no withdrawal comes in between.

    Raises:
        ChangedMeanwhile: it is not the champion any more, or other writers keep moving the pointer.
        StorageError: S3 refuses or does not answer; the same call resumes.
    """
    store = store or Store()
    at = Place(place.bucket, place.key(facts["model"]))
    files = list_files(folders)
    folder = f"models/{digest_value(files)}"
    listing = _placed(store, at, folder, files, {path for path in shared if path.is_file()}, folders)
    sent = _upload(store, at, folder, listing, folders)
    content = (json.dumps(listing, indent=1) + "\n").encode()
    kept = store.read(at.bucket, at.key(folder, LIST))
    if kept is None or kept[0] != content:
        store.write(at.bucket, at.key(folder, LIST), content)
    # whoever removes parts looks at lists first: what went before this list was there is seen now
    parts = {name: entry for name, entry in listing.items() if entry.get("part")}
    sent += _upload(store, at, folder, parts, folders)
    pointer = {
        "format": FORMAT,
        **facts,
        "folder": folder,
        "files_sha256": hashlib.sha256(content).hexdigest(),
        "published_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    with exclusively():
        return _point(store, place, facts, pointer, is_champion, sent)


def retract(
    place: Place, model: str, version: str, why: str, store: Store | None = None, content_digest: str | None = None
) -> bool:
    """Point to nothing, where the pointer names this version; readers are told why. Its files stay.

    With `content_digest`, only where the pointer names this content: a recreated registry counts from 1 again.

    Raises:
        StorageError: S3 refuses or does not answer; ChangedMeanwhile where other writers keep moving the pointer.
    """
    store = store or Store()
    key = place.key(model, POINTER)
    for _ in range(TRIES):
        kept = store.read(place.bucket, key)
        now = {} if kept is None else read_json_object(kept[0], f"{place}/{model}/{POINTER}")
        if kept is None or now.get("version") != version:
            return False
        if content_digest is not None and now.get("content_digest") != content_digest:
            return False
        content = json.dumps({"format": FORMAT, "model": model, "withdrawn": why}, indent=1).encode()
        try:
            store.replace(place.bucket, key, content, kept[1])
        except ChangedMeanwhile:
            continue
        return True
    raise ChangedMeanwhile(
        f"{place}/{model}/{POINTER} was changed by another writer three times in a row; run the command again"
    )


def delete_published(folder_url: str, store: Store | None = None) -> int:
    """Delete the files of one published version, `<place>/<model>/models/<digest>`; returns how many there were.

    Shared files that no other version of the place needs are deleted too.

    Raises:
        StorageError: S3 refuses or does not answer, files are left, or a version that is being published needs one.
    """
    store, place = store or Store(), read_url(folder_url)
    match = re.fullmatch(r"(?:(?P<model>.+)/)?(?P<folder>models/[0-9a-f]{16,64})", place.prefix)
    if not match:
        raise StorageError(f"{folder_url} is not the folder of a published version; nothing was deleted there")
    at, folder = Place(place.bucket, match["model"] or ""), match["folder"]
    found, last = store.list(place), at.key(folder, LIST)
    for key in (key for key, _, _ in found if key != last):
        store.delete(place.bucket, key)
    own = read_listing(store, at, folder)
    parts = set() if own is None else _parts_in(own[1])
    unused = parts - _needed(store, at, folder) if parts else parts
    for part in sorted(unused):
        store.delete(place.bucket, part_key(at, part))
    if unused and unused & _needed(store, at, folder):
        raise StorageError(
            f"another version was published beside {at} meanwhile, and may lack shared files now: publish it again"
        )
    store.delete(place.bucket, last)
    if store.list(place):
        raise StorageError(f"files are left in {folder_url}; run the command again")
    return len(found)


def published_folder(place: Place, model: str, folders: dict[str, Path]) -> str:
    """Where on S3 the files of a version go: their own digest names the folder."""
    return f"{place}/{model}/models/{digest_value(list_files(folders))}"


def _point(
    store: Store,
    place: Place,
    facts: dict[str, str],
    pointer: dict[str, Any],
    is_champion: Callable[[], bool],
    sent: int,
) -> Published:
    key, where = place.key(facts["model"], POINTER), f"{place}/{facts['model']}/{POINTER}"
    for _ in range(TRIES):
        kept = store.read(place.bucket, key)
        now = None if kept is None else read_json_object(kept[0], where)
        if not is_champion():
            raise ChangedMeanwhile(
                f"{facts['model']} version {facts['version']} is not the champion any more, so {where} is left as it is"
            )
        if now and all(now.get(name) == pointer.get(name) for name in SAME):
            return Published(now, sent, False)
        try:
            content = (json.dumps(pointer, indent=1) + "\n").encode()
            store.replace(place.bucket, key, content, None if kept is None else kept[1])
        except ChangedMeanwhile:
            continue
        return Published(pointer, sent, True)
    raise ChangedMeanwhile(f"{where} was changed by another writer three times in a row; run the command again")


def _placed(
    store: Store, at: Place, folder: str, files: Listing, shared: Collection[Path], folders: dict[str, Path]
) -> Listing:
    """The files with where they lie: as the list that is there says, if this content was published before."""
    kept = read_listing(store, at, folder)
    if kept is not None and without_places(kept[1]) == files:
        return kept[1]
    return {
        name: {**entry, "part": True} if _local(name, folders) in shared else entry for name, entry in files.items()
    }


def _upload(store: Store, at: Place, folder: str, listing: Listing, folders: dict[str, Path]) -> int:
    return sum(
        store.upload(at.bucket, key_of(at, folder, name, entry), _local(name, folders), entry["sha256"])
        for name, entry in listing.items()
    )


def _local(name: str, folders: dict[str, Path]) -> Path:
    top, _, rest = name.partition("/")
    return folders[top] / rest


def _parts_in(listing: Listing) -> set[str]:
    return {entry["sha256"] for entry in listing.values() if entry.get("part")}


def _needed(store: Store, at: Place, without: str) -> set[str]:
    """The shared files that the versions of all models of a place need, without one version of the model `at`."""
    found: set[str] = set()
    place = Place(at.bucket, at.prefix.rpartition("/")[0])
    lists = re.compile(rf"{re.escape(place.key('X'))[:-1]}(?P<model>[^/]+)/(?P<folder>models/[0-9a-f]+)/{LIST}")
    for key, _, _ in store.list(place):
        match = lists.fullmatch(key)
        if match and key != at.key(without, LIST):
            listing = read_listing(store, Place(at.bucket, place.key(match["model"])), match["folder"])
            found |= set() if listing is None else _parts_in(listing[1])
    return found
