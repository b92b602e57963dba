"""A model on S3: a folder that never changes, and a pointer to the champion that moves in one write.

    <place>/<model>/models/<digest>/model/...     the pipeline folder, lineage.json in it
    <place>/<model>/models/<digest>/record/...    params.yaml, dvc.lock, evaluation.json
    <place>/<model>/models/<digest>/files.json    every file with size and sha256; written last
    <place>/<model>/champion.json                 which of them is the champion

`digest` is over the list of files: other files, another folder. Whoever reads the pointer first and then what it names
sees one whole model, whatever is being written meanwhile.
"""

import hashlib
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.errors import UserError
from pipeline.files import digest_file, digest_value
from pipeline.lineage.digests import content_digest
from pipeline.lineage.read import read_lineage
from pipeline.storage.s3 import ChangedMeanwhile, Place, StorageError, Store, read_json_object, read_url

POINTER, LIST = "champion.json", "files.json"
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
) -> Published:
    """Bring a champion to S3 and point to it.

    Args:
        facts: `model`, `version`, `content_digest`, `by`, perhaps `recipe` (JSON) and `recipe_digest`, and whatever
            else the pointer shall hold.
        folders: local folders by their name there ("model", "record").
        is_champion: whether it is still the champion; asked before the pointer moves.
        exclusively: held while that is asked and the pointer moves, so that no withdrawal comes in between.

    Raises:
        ChangedMeanwhile: it is not the champion any more, or other writers keep moving the pointer.
        StorageError: S3 refuses or does not answer; the same call resumes.
    """
    store = store or Store()
    files = _listed(folders)
    listing = (json.dumps(files, indent=1) + "\n").encode()
    digest = digest_value(files)
    sent = 0
    for name, entry in files.items():
        top, _, rest = name.partition("/")
        key = place.key(facts["model"], "models", digest, name)
        sent += store.upload(place.bucket, key, folders[top] / rest, entry["sha256"])
    key = place.key(facts["model"], "models", digest, LIST)
    kept = store.read(place.bucket, key)
    if kept is None or kept[0] != listing:
        store.write(place.bucket, key, listing)
    pointer = {
        "format": 1,
        **facts,
        "folder": f"models/{digest}",
        "files_sha256": hashlib.sha256(listing).hexdigest(),
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
        content = json.dumps({"format": 1, "model": model, "withdrawn": why}, indent=1).encode()
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

    Raises:
        StorageError: S3 refuses or does not answer, or files are left.
    """
    store, place = store or Store(), read_url(folder_url)
    if not re.search(r"(^|/)models/[0-9a-f]{16,64}$", place.prefix):
        raise StorageError(f"{folder_url} is not the folder of a published version; nothing was deleted there")
    found = store.list(place)
    for key, _, _ in found:
        store.delete(place.bucket, key)
    if store.list(place):
        raise StorageError(f"files are left in {folder_url}; run the command again")
    return len(found)


def published_folder(place: Place, model: str, folders: dict[str, Path]) -> str:
    """Where on S3 the files of a version go: their own digest names the folder."""
    return f"{place}/{model}/models/{digest_value(_listed(folders))}"


def fetch(url: str, target: Path, store: Store | None = None) -> dict[str, Any]:
    """Download the champion of `s3://bucket/prefix/model` into a folder that appears when all of it was verified.

    The same call resumes after a cut: files that arrived whole stay in `<target>.partial`.

    Returns:
        The pointer; the pipeline is in `target/model`.

    Raises:
        StorageError: nothing is published there, it was withdrawn, or what arrived is not what was published.
    """
    store, place = store or Store(), read_url(url)
    pointer = _pointer(store, place)
    listing = _checked_list(store, place, pointer)
    if target.exists():
        if (target / LIST).is_file() and digest_file(target / LIST) == pointer["files_sha256"]:
            _verify(target, listing, pointer)
            return pointer
        raise StorageError(f"{target} exists and is something else; remove it, or name another folder with --to")
    partial = target.with_name(f"{target.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)

    def download(name: str) -> None:
        path, expected = partial / name, listing[name]["sha256"]
        if not path.resolve().is_relative_to(partial.resolve()):  # a link in a folder that somebody prepared
            raise StorageError(f"{path} leads out of {partial}; remove {partial} and fetch again")
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file() and digest_file(path) == expected:
            return
        found = store.download(place.bucket, place.key(pointer["folder"], name), path)
        if found != expected:
            path.unlink()
            raise StorageError(f"{url}: {name} arrived with sha256 {found[:16]}, published was {expected[:16]}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(download, listing))
    for path in [path for path in partial.rglob("*") if path.is_file()]:
        if path.relative_to(partial).as_posix() not in listing:
            path.unlink()  # of another champion, whose download was cut off
    (partial / LIST).write_bytes((json.dumps(listing, indent=1) + "\n").encode())
    _verify(partial, listing, pointer)
    partial.rename(target)
    return pointer


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


def _listed(folders: dict[str, Path]) -> dict[str, dict[str, Any]]:
    found = {}
    for top, folder in sorted(folders.items()):
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = f"{top}/{path.relative_to(folder).as_posix()}"
            found[name] = {"size": path.stat().st_size, "sha256": digest_file(path)}
    return found


def _pointer(store: Store, place: Place) -> dict[str, Any]:
    kept = store.read(place.bucket, place.key(POINTER))
    if kept is None:
        raise StorageError(f"{place} has no {POINTER}: nothing was published there; name s3://bucket/prefix/model")
    pointer = read_json_object(kept[0], f"{place}/{POINTER}")
    if "withdrawn" in pointer:
        raise StorageError(f"the champion at {place} was withdrawn: {pointer['withdrawn']}")
    lacking = {"model", "version", "content_digest", "folder", "files_sha256"} - pointer.keys()
    if lacking:
        raise StorageError(f"{place}/{POINTER} lacks {', '.join(sorted(lacking))}: it was not written by dreamtrace")
    if not re.fullmatch(r"models/[0-9a-f]+", str(pointer["folder"])):
        raise StorageError(f"{place}/{POINTER} points to {pointer['folder']!r}, which is no folder of a model")
    return pointer


def _checked_list(store: Store, place: Place, pointer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    where = f"{place}/{pointer['folder']}/{LIST}"
    kept = store.read(place.bucket, place.key(pointer["folder"], LIST))
    if kept is None:
        raise StorageError(f"{where} is missing, though {POINTER} points there")
    if hashlib.sha256(kept[0]).hexdigest() != pointer["files_sha256"]:
        raise StorageError(f"{where} is not the list that {POINTER} names: one of them was changed")
    listing = read_json_object(kept[0], where)
    for name, entry in listing.items():
        parts = PurePosixPath(name).parts
        if (
            not name
            or name != "/".join(parts)
            or "\\" in name
            or "\0" in name
            or {"..", "."} & set(parts)
            or "/" in parts
        ):
            raise StorageError(f"{where} names a file outside of the folder: {name!r}")
        if any(other.startswith(f"{name}/") for other in listing):
            raise StorageError(f"{where} names {name!r} as a file and as a folder: it was not written by dreamtrace")
        if not isinstance(entry, dict) or not isinstance(entry.get("sha256"), str):
            raise StorageError(f"{where} has no sha256 of {name!r}: it was not written by dreamtrace, or is damaged")
    return listing


def _verify(folder: Path, listing: dict[str, dict[str, Any]], pointer: dict[str, Any]) -> None:
    """The files, the tensors and the record all have to be those that the pointer names."""
    for name, entry in listing.items():
        if not (folder / name).is_file() or digest_file(folder / name) != entry["sha256"]:
            raise StorageError(f"{folder / name} is not what was published; remove {folder} and fetch again")
    try:
        recorded, found = read_lineage(folder / "model")["weights"]["content_digest"], content_digest(folder / "model")
    except (UserError, ValueError, OSError) as error:
        raise StorageError(f"{folder / 'model'} is not a model with its record: {error}") from None
    if not recorded == found == pointer["content_digest"]:
        raise StorageError(
            f"the weights have content digest {found[:16]}, the record says {recorded[:16]} and {POINTER} "
            f"{pointer['content_digest'][:16]}: they do not belong together"
        )
