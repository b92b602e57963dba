"""How a published model lies on S3.

    <place>/parts/<sha256>                        a file that versions share, once for all models of the place
    <place>/<model>/models/<digest>/model/...     the other files of the pipeline folder, lineage.json among them
    <place>/<model>/models/<digest>/record/...    params.yaml, dvc.lock, evaluation.json
    <place>/<model>/models/<digest>/files.json    every file with size and sha256, those in parts/ too; written last
    <place>/<model>/champion.json                 which of them is the champion

`digest` is over the list of files, wherever they lie: other files, another folder. Folders of older versions of
dreamtrace hold all of their files.
"""

import re
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.files import digest_file
from pipeline.storage.s3 import Place, StorageError, Store, read_json_object

POINTER, LIST, PARTS = "champion.json", "files.json", "parts"
FORMAT = 2  # of the pointer; 1 knew no parts

Listing = dict[str, dict[str, Any]]  # size and sha256 of each file, by its name; `part` where it lies in parts/


def list_files(folders: dict[str, Path]) -> Listing:
    """Every file of local folders, by `<name of the folder>/<path in it>`."""
    found = {}
    for top, folder in sorted(folders.items()):
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = f"{top}/{path.relative_to(folder).as_posix()}"
            found[name] = {"size": path.stat().st_size, "sha256": digest_file(path)}
    return found


def without_places(listing: Listing) -> Listing:
    """What the files are, not where they lie."""
    return {name: {key: entry[key] for key in ("size", "sha256")} for name, entry in listing.items()}


def key_of(at: Place, folder: str, name: str, entry: dict[str, Any]) -> str:
    """The key of a listed file.

    Args:
        at: the place of the model, `<place>/<model>`.
        folder: `models/<digest>`.
    """
    if entry.get("part"):
        return part_key(at, entry["sha256"])
    return at.key(folder, name)


def part_key(at: Place, sha256: str) -> str:
    """The key of a shared file, from the place of a model."""
    return Place(at.bucket, at.prefix.rpartition("/")[0]).key(PARTS, sha256)


def is_ours(place: Place, key: str) -> bool:
    """Whether a key is one that a publication to `place` writes."""
    inside = key.removeprefix(f"{place.prefix}/") if place.prefix else key
    return re.fullmatch(rf"{PARTS}/[0-9a-f]{{64}}|[^/]+/models/[0-9a-f]{{16,64}}/.+", inside) is not None


def read_listing(store: Store, at: Place, folder: str) -> tuple[bytes, Listing] | None:
    """The list of a published folder, as it is and read; None where there is none.

    Raises:
        StorageError: it was damaged, or names files that dreamtrace never names.
    """
    where = f"{at}/{folder}/{LIST}"
    kept = store.read(at.bucket, at.key(folder, LIST))
    if kept is None:
        return None
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
        sha256 = entry.get("sha256") if isinstance(entry, dict) else None
        if not isinstance(sha256, str) or not re.fullmatch("[0-9a-f]{64}", sha256):
            raise StorageError(f"{where} has no sha256 of {name!r}: it was not written by dreamtrace, or is damaged")
        if not isinstance(entry.get("size"), int):
            raise StorageError(f"{where} has no size of {name!r}: it was not written by dreamtrace, or is damaged")
    return kept[0], listing
