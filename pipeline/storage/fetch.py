"""A published champion, downloaded and verified before its folder appears."""

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.files import digest_file
from pipeline.lineage.digests import content_digest
from pipeline.lineage.read import read_lineage
from pipeline.storage.published import FORMAT, LIST, POINTER, Listing, key_of, read_listing
from pipeline.storage.s3 import NothingThere, Place, StorageError, Store, read_json_object, read_url


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
    raw, listing = _listing(store, place, pointer)
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
        key = key_of(place, pointer["folder"], name, listing[name])
        try:
            found = store.download(place.bucket, key, path)
        except NothingThere:
            raise StorageError(
                f"s3://{place.bucket}/{key} is missing, and {url} needs it for {name}; whoever published it sends it "
                f"again with `dreamtrace publish {pointer['model']}`"
            ) from None
        if found != expected:
            path.unlink()
            raise StorageError(f"{url}: {name} arrived with sha256 {found[:16]}, published was {expected[:16]}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(download, listing))
    for path in [path for path in partial.rglob("*") if path.is_file()]:
        if path.relative_to(partial).as_posix() not in listing:
            path.unlink()  # of another champion, whose download was cut off
    (partial / LIST).write_bytes(raw)
    _verify(partial, listing, pointer)
    partial.rename(target)
    return pointer


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
    if pointer.get("format", 1) not in range(1, FORMAT + 1):
        raise StorageError(
            f"{place}/{POINTER} has format {pointer['format']}, and this dreamtrace reads up to {FORMAT}: update it"
        )
    if not re.fullmatch(r"models/[0-9a-f]+", str(pointer["folder"])):
        raise StorageError(f"{place}/{POINTER} points to {pointer['folder']!r}, which is no folder of a model")
    return pointer


def _listing(store: Store, place: Place, pointer: dict[str, Any]) -> tuple[bytes, Listing]:
    where = f"{place}/{pointer['folder']}/{LIST}"
    found = read_listing(store, place, pointer["folder"])
    if found is None:
        raise StorageError(f"{where} is missing, though {POINTER} points there")
    if hashlib.sha256(found[0]).hexdigest() != pointer["files_sha256"]:
        raise StorageError(f"{where} is not the list that {POINTER} names: one of them was changed")
    return found


def _verify(folder: Path, listing: Listing, pointer: dict[str, Any]) -> None:
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
