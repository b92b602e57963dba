"""Where copies of a photo are, and how they are removed."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import UserError
from pipeline.files import digest_file, read_jsonl, scratch_folder
from pipeline.layout import DATA, MANIFEST, PREPARED, REPORT, STATE
from pipeline.lineage.dvc_objects import Objects
from pipeline.registry.impact import Affected
from pipeline.registry.lookup import version_record
from pipeline.registry.publication import published_folders
from pipeline.registry.store import connect
from pipeline.storage.publish import delete_published
from pipeline.storage.s3 import Store, read_url

if TYPE_CHECKING:
    from mlflow import MlflowClient

RUNS = STATE / "runs"  # isolated workspaces
SOURCES = STATE / "sources"  # photos that were fetched from S3


@dataclass(frozen=True)
class PhotoCopy:
    """One copy: what kind of place it is in, where, and what removes it."""

    kind: str
    where: str
    remove: Callable[[], object]


@dataclass(frozen=True)
class Copies:
    """All copies that were found, and places that could not be looked into."""

    found: list[PhotoCopy]
    problems: list[str]


def find_copies(
    workspace: Path, sha256: Iterable[str], affected: Iterable[Affected], drawn_from: Iterable[str] = ()
) -> Copies:
    """Copies of photos in this workspace, its isolated runs, DVC's stores, the registry's reports and S3.

    Prepared pictures (cropped and resized) count as copies. Published models of affected versions are listed, since
    they carry what was learned from the photo. `drawn_from` are pictures that it went into (`impact`): they show
    parts of it.
    """
    digests, affected, client = set(sha256), list(affected), connect(workspace)
    found: list[PhotoCopy] = []
    problems: list[str] = []
    md5: set[str] = set()
    for root in (workspace, *sorted(path for path in (workspace / RUNS).glob("*") if path.is_dir())):
        for kind, path in _in_workspace(root, digests):
            md5.add(_md5(path))
            found.append(PhotoCopy(kind, str(path), path.unlink))
    drawn = [Path(file) for file in dict.fromkeys(drawn_from) if Path(file).is_file()]
    found += [PhotoCopy("picture that was drawn from it", str(path), path.unlink) for path in drawn]
    for item in affected:
        try:
            md5 |= _of_version(workspace, client, item, digests, found)
        except (UserError, OSError) as error:
            problems.append(f"{item.name}: {error}")
    _in_dvc(workspace, md5, found, problems)
    return Copies(found, problems)


def purge(copies: Iterable[PhotoCopy]) -> list[str]:
    """Remove copies; returns a sentence for each that could not be removed."""
    problems = []
    for copy in copies:
        try:
            copy.remove()
        except FileNotFoundError:
            continue
        except Exception as error:  # of any store that DVC or MLflow uses; the rest has to go nevertheless
            problems.append(f"{copy.where}: {(str(error).splitlines() or [type(error).__name__])[0]}")
    return problems


def _in_workspace(root: Path, digests: set[str]) -> Iterator[tuple[str, Path]]:
    for folder in (DATA, SOURCES):
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and digest_file(path) in digests:
                yield "photo", path
    if (root / MANIFEST).is_file():
        for row in read_jsonl(root / MANIFEST):
            if row.get("sha256") in digests:
                name = Path(str(row["file"])).name
                for kind, path in (("prepared picture", root / PREPARED / row["file"]),
                                   ("report", root / REPORT / "photos" / name)):  # fmt: skip
                    if path.is_file():
                        yield kind, path


def _of_version(
    workspace: Path, client: "MlflowClient", item: Affected, digests: set[str], found: list[PhotoCopy]
) -> set[str]:
    """md5 of a version's copies in DVC; those in its report and on S3 are added to `found`."""
    name, number = item.sighting.model, item.sighting.version
    for folder in published_folders(client, name, number):
        if Store().list(read_url(folder)):
            found.append(PhotoCopy("published model", folder, _deleting(folder)))
    version = client.get_model_version(name, number)
    with scratch_folder() as scratch:
        lineage = version_record(version, Path(scratch))
    photos = [photo for photo in lineage["photos"]["files"] if photo["sha256"] in digests]
    prepared = _prepared_md5(workspace, lineage)
    report = f"report/{str(version.tags.get('content_digest'))[:16]}/photos"
    kept = {Path(entry.path).name: entry.path for entry in client.list_artifacts(version.run_id, report)}
    for photo in photos:
        file = Path(str(photo["file"])).name
        if file in kept:
            where = f"runs:/{version.run_id}/{kept[file]}"
            found.append(PhotoCopy("report in MLflow", where, _deleting_artifact(client, version.run_id, kept[file])))
    return {str(photo["md5"]) for photo in photos if photo.get("md5")} | {
        prepared[photo["file"]] for photo in photos if photo["file"] in prepared
    }


def _prepared_md5(workspace: Path, lineage: dict[str, Any]) -> dict[str, str]:
    """md5 of the prepared pictures of a record, by their path in artifacts/prepared."""
    outs = ((lineage.get("lock") or {}).get("prepare") or {}).get("outs") or []
    tree = next((out.get("md5") for out in outs if out.get("path") == PREPARED.as_posix()), None)
    return Objects(workspace).folder(str(tree)).entries or {} if tree else {}


def _in_dvc(workspace: Path, md5: set[str], found: list[PhotoCopy], problems: list[str]) -> None:
    for name, store in Objects(workspace).stores:
        for digest in sorted(md5):
            path = store.oid_to_path(digest)
            try:
                if store.fs.exists(path):
                    found.append(PhotoCopy(name, str(path), _removing(store, path)))
            except Exception as error:  # of any kind of remote
                problems.append(f"{name}: {(str(error).splitlines() or [type(error).__name__])[0]}")
                break


def _removing(store: Any, path: str) -> Callable[[], object]:
    return lambda: store.fs.remove(path)


def _deleting(folder: str) -> Callable[[], object]:
    return lambda: delete_published(folder)


def _deleting_artifact(client: "MlflowClient", run_id: str, path: str) -> Callable[[], object]:
    def delete() -> None:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        get_artifact_repository(client.get_run(run_id).info.artifact_uri).delete_artifacts(path)

    return delete


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
