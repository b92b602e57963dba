"""Where photos come from: a folder of this machine, or a prefix of an S3 bucket kept in step with a folder."""

import shutil
from pathlib import Path, PurePosixPath

from pipeline.errors import UserError
from pipeline.files import digest_value, read_json, write_json
from pipeline.layout import STATE
from pipeline.photos.captions import list_photos
from pipeline.storage.s3 import Store, read_url

SOURCES = STATE / "sources"  # what was fetched, a folder for each address
MOST_FILES, MOST_BYTES = 10_000, 20 << 30


class SourceError(UserError):
    """The photos of a source are not to be had."""


def fetch_source(source: str, workspace: Path) -> Path:
    """The folder that holds the photos of a source: itself, or a copy of an `s3://` prefix brought up to date.

    Objects that did not change are not downloaded again.

    Raises:
        SourceError: there are no photos, or more than anybody has of one subject.
        StorageError: S3 refuses, or does not answer.
    """
    folder = _synced(source, workspace / SOURCES) if source.startswith("s3://") else Path(source).expanduser()
    if not folder.is_dir():
        raise SourceError(f"'{source}' is neither a folder nor an s3:// prefix")
    if not list_photos(folder):
        raise SourceError(f"there is no photo in {source}")
    return folder.resolve()


def copy_photos(folder: Path, target: Path) -> None:
    """Put the photos of a folder in the place of others; links are followed, so that the copy stands by itself."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns(".*"))


def _synced(url: str, sources: Path) -> Path:
    place = read_url(url)
    target = sources / digest_value(str(place))[:16]
    folder, index = target / "photos", target / "index.json"
    store = Store()
    wanted = {_relative(key, place.prefix, url): (key, size, etag) for key, size, etag in store.list(place)}
    wanted.pop("", None)  # the object that some tools make for the prefix itself
    size = sum(size for _, size, _ in wanted.values())
    if not wanted:
        raise SourceError(f"there is nothing below {url}; check bucket and prefix")
    if len(wanted) > MOST_FILES or size > MOST_BYTES:
        raise SourceError(
            f"{url} holds {len(wanted)} files of {size / 1e9:.1f} GB: name the prefix of one subject's photos"
        )
    known = read_json(index) if index.is_file() else {}
    for name, (key, length, etag) in wanted.items():
        path = folder / name
        if known.get(name) == etag and path.is_file() and path.stat().st_size == length:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        store.download(place.bucket, key, partial)
        partial.replace(path)
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        if path.relative_to(folder).as_posix() not in wanted:
            path.unlink()
    write_json(index, {name: etag for name, (_, _, etag) in wanted.items()})
    return folder


def _relative(key: str, prefix: str, url: str) -> str:
    name = key.removeprefix(prefix).strip("/")
    if ".." in PurePosixPath(name).parts or "\\" in name:
        raise SourceError(f"{url} holds an object whose name is no file name: {key}")
    return name
