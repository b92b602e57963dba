"""Where photos come from: a folder or a zip file of this machine, or a prefix of an S3 bucket kept in step."""

import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from pipeline.errors import UserError, in_units
from pipeline.files import digest_file, digest_value, read_json, whole_folder, write_json
from pipeline.layout import STATE
from pipeline.photos.file_kinds import FileKinds, printable, scan_folder
from pipeline.runs.photo_archive import LONGEST, unpack
from pipeline.storage.s3 import Store, read_url

SOURCES = STATE / "sources"  # what was fetched, a folder for each address
MOST_FILES, MOST_BYTES = 10_000, 20 << 30
LOCK, INDEX = "lock", "index.json"


class SourceError(UserError):
    """The photos of a source are not available."""


def fetch_source(source: str, workspace: Path) -> Path:
    """The folder that holds the photos of a source: itself, what a zip file holds, or a copy of an `s3://` prefix
    brought up to date.

    Objects that did not change are not downloaded again.

    Raises:
        ArchiveError: a zip file cannot be unpacked.
        SourceError: there are no photos, more than anybody has of one subject, or something else than files.
        StorageError: S3 refuses, or does not answer.
    """
    folder = _synced(source, workspace / SOURCES) if source.startswith("s3://") else Path(source).expanduser()
    if folder.is_file() and folder.suffix.lower() == ".zip":
        folder = _unpacked(folder, workspace / SOURCES)
    if not folder.is_dir():
        raise SourceError(f"'{source}' is neither a folder, nor a .zip file, nor an s3:// prefix")
    if not _kinds(folder, source).photos:
        raise SourceError(f"there is no photo in {source}")
    return folder.resolve()


def copy_photos(folder: Path, target: Path) -> None:
    """Put what a folder of photos holds in the place of other photos; hidden files stay behind.

    Links to files are followed, so that the copy stands by itself. A copy of an `s3://` prefix is not changed by
    another run meanwhile.

    Raises:
        SourceError: as `fetch_source`.
    """
    with _locked(folder.parent, (folder.parent / INDEX).is_file()):
        _kinds(folder, str(folder))
        target.parent.mkdir(parents=True, exist_ok=True)
        with whole_folder(target) as fresh:
            for name in all_files(folder):
                (fresh / name).parent.mkdir(parents=True, exist_ok=True)
                try:
                    shutil.copyfile(folder / name, fresh / name)
                except OSError as error:
                    raise SourceError(f"{folder / name} cannot be copied: {error.strerror}") from None


def _kinds(folder: Path, source: str) -> FileKinds:
    """The files of a source; how many they are, and how large, is looked at before anything is copied."""
    kinds, problems = scan_folder(folder)
    if problems:
        raise SourceError(_refused(source, problems))
    files = all_files(folder)
    _check_amount(len(files), sum((folder / name).stat().st_size for name in files), source)
    return kinds


def _refused(source: str, problems: Iterable[str]) -> str:
    return "\n".join([f"{source} cannot be taken as photos:", *(f"  {problem}" for problem in problems)])


def all_files(folder: Path) -> list[str]:
    """Every file that is not hidden; no link to a folder is followed."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = [Path(place, name) for name in files if not name.startswith(".")]
        found += [path.relative_to(folder).as_posix() for path in paths]
    return sorted(found)


def _check_amount(files: int, size: int, source: str) -> None:
    if files > MOST_FILES or size > MOST_BYTES:
        raise SourceError(
            f"{source} holds {files} files of {in_units(size)}, more than {MOST_FILES:,} files or "
            f"{in_units(MOST_BYTES)}: name the place of one subject's photos"
        )


@contextmanager
def _locked(place: Path, needed: bool = True) -> Iterator[None]:
    """One process at a time in the folder of a fetched source; others wait."""
    if not needed:
        yield
        return
    place.mkdir(parents=True, exist_ok=True)
    with (place / LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _unpacked(archive: Path, sources: Path) -> Path:
    """What a zip file holds, unpacked anew where the file is another one than before."""
    target = sources / digest_file(archive)[:16]
    with _locked(target):
        if not (target / "photos").is_dir():
            unpack(archive, target / "photos", MOST_FILES, MOST_BYTES)
    return target / "photos"


def _synced(url: str, sources: Path) -> Path:
    place = read_url(url)
    target = sources / digest_value(str(place))[:16]
    folder, index = target / "photos", target / INDEX
    with _locked(target):
        store = Store()
        wanted = {_relative(key, place.prefix): (key, size, etag) for key, size, etag in store.list(place)}
        wanted.pop("", None)  # the object that some tools make for the prefix itself
        if not wanted:
            raise SourceError(f"there is nothing below {url}; check bucket and prefix")
        if problems := list(_name_problems(wanted)):
            raise SourceError(_refused(url, problems))
        _check_amount(len(wanted), sum(size for _, size, _ in wanted.values()), url)
        _remove_others(folder, wanted)  # first: an object may have become a folder, or a folder an object
        known = read_json(index) if index.is_file() else {}
        have: dict[str, dict[str, str]] = {}
        for name, (key, length, etag) in wanted.items():
            path = folder / name
            before = known.get(name)
            if isinstance(before, dict) and before["etag"] == etag and _is_whole(path, length, before["sha256"]):
                have[name] = before
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{digest_value(name)[:16]}.partial")
            try:
                sha256 = _download(store, place.bucket, key, partial, length, etag)
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
            have[name] = {"etag": etag, "sha256": sha256}
            write_json(index, {**known, **have})
        write_json(index, have)
    return folder


def _remove_others(folder: Path, wanted: Iterable[str]) -> None:
    """Leave only files of these names in a folder, and the folders that hold them."""
    names = set(wanted)
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        if path.relative_to(folder).as_posix() not in names:
            path.unlink()
    for path in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        if not any(path.iterdir()):
            path.rmdir()


def _is_whole(path: Path, length: int, sha256: str) -> bool:
    return path.is_file() and path.stat().st_size == length and digest_file(path) == sha256


def _download(store: Store, bucket: str, key: str, path: Path, length: int, etag: str) -> str:
    """Fetch an object and check what arrived: its length, and its MD5 where the ETag is one.

    An ETag without "-" is the MD5 unless the bucket encrypts with keys of its own; so a content that differs from it
    but arrives twice the same is taken.

    Raises:
        SourceError: what arrives is not what the bucket lists, however often it is fetched.
    """
    arrived: list[str] = []
    for _ in range(3):
        sha256 = store.download(bucket, key, path)
        if path.stat().st_size != length:
            continue
        if digest_file(path, "md5") == etag.strip('"') or "-" in etag or sha256 in arrived:
            return sha256
        arrived.append(sha256)
    raise SourceError(
        f"s3://{bucket}/{key} does not arrive as it is listed ({length} bytes); run the same command again"
    )


def _relative(key: str, prefix: str) -> str:
    """The name of an object below the prefix, as it would be in a folder, whether it can be or not."""
    name = key.removeprefix(prefix).strip("/")
    return PurePosixPath(name).as_posix() if name else ""


def _name_problems(names: Iterable[str]) -> Iterator[str]:
    """Objects whose names are no file names, and those that S3 holds side by side and no folder can: `a`, `a/b`."""
    known = set(names)
    for name in sorted(known):
        parts = PurePosixPath(name).parts
        if (
            ".." in parts
            or "\\" in name
            or "\0" in name
            or any(len(part.encode("utf-8", "surrogatepass")) > LONGEST for part in parts)
        ):
            yield f"{printable(name)}: is an object whose name is no file name; call it otherwise"
        above = next((str(folder) for folder in PurePosixPath(name).parents if str(folder) in known), None)
        if above is not None:
            yield f"{printable(above)}: is an object and a folder (of {printable(name)}); remove one of the two"
