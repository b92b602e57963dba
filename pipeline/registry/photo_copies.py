"""Where copies of a photo are, and how they are removed."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import UserError, first_line
from pipeline.files import scratch_folder
from pipeline.layout import PREPARED
from pipeline.lineage.dvc_objects import Objects
from pipeline.lineage.dvc_stages import lock_problem
from pipeline.registry.artifacts import local_path
from pipeline.registry.copies_on_disk import DRAWN, copies_on_disk, md5_in_lists, report_parts
from pipeline.registry.impact import Affected
from pipeline.registry.lookup import version_record
from pipeline.registry.publication import published_folders
from pipeline.registry.store import connect
from pipeline.registry.stored_files import remove_file, sizes_below
from pipeline.registry.versions import report_folder
from pipeline.sampling.picture_index import is_file_with
from pipeline.storage.publish import delete_published
from pipeline.storage.s3 import Store, read_url

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class PhotoCopy:
    """One copy: what kind of place it is in, where, and what removes it."""

    kind: str
    where: str
    remove: Callable[[], object]
    file: Path | None = None  # where it is on this machine, if it is


@dataclass(frozen=True)
class Copies:
    """All copies that were found, and places that could not be looked into."""

    found: list[PhotoCopy]
    problems: list[str]


def find_copies(
    workspace: Path,
    sha256: Iterable[str],
    affected: Iterable[Affected],
    drawn_from: Iterable[str] = (),
    drawn_sha256: Iterable[str] = (),
) -> Copies:
    """Copies of photos below this workspace, in DVC's stores, the registry's reports and S3.

    Prepared pictures (cropped and resized) and what reports show of them count as copies. Published models of affected
    versions are listed, since they carry what was learned from the photo. `drawn_sha256` are the digests of pictures
    that it went into (`impact`): they show parts of it, and are found wherever they lie below the workspace. Of the
    files `drawn_from`, which may lie elsewhere, those count that still have one of these digests.
    """
    from mlflow.exceptions import MlflowException

    digests, affected, client = set(sha256), list(affected), connect(workspace)
    objects = Objects(workspace)
    found, problems, md5 = list[PhotoCopy](), list[str](), set[str]()
    for item in affected:
        try:
            md5 |= _of_version(objects, client, item, digests, found)
        except (UserError, OSError) as error:
            problems.append(f"{item.name}: {error}")
        except MlflowException as error:
            problems.append(f"{item.name}: {first_line(error)}")
    drawn = set(drawn_sha256)
    on_disk = copies_on_disk(workspace, digests, md5, drawn)
    problems += on_disk.problems
    md5 = on_disk.md5 | md5_in_lists(objects.cached_lists(), on_disk.md5)
    _in_dvc(objects, md5, found, problems)
    known = {_place(copy.file) for copy in found if copy.file is not None}
    local = [PhotoCopy(kind, str(path), path.unlink) for kind, path in on_disk.found if _place(path) not in known]
    known |= {_place(path) for _, path in on_disk.found}
    elsewhere = [Path(file) for file in dict.fromkeys(drawn_from) if any(is_file_with(file, one) for one in drawn)]
    local += [PhotoCopy(DRAWN, str(path), path.unlink) for path in elsewhere if _place(path) not in known]
    return Copies([*local, *found], list(dict.fromkeys(problems)))


def _place(path: Path) -> Path:
    """Where a file, or a link to one, lies, whatever links lead to its folder."""
    return path.parent.resolve() / path.name


def purge(copies: Iterable[PhotoCopy]) -> list[str]:
    """Remove copies; returns a sentence for each that could not be removed."""
    problems = []
    for copy in copies:
        try:
            copy.remove()
        except FileNotFoundError:
            continue
        except Exception as error:  # of any store that DVC or MLflow uses; the rest has to go nevertheless
            problems.append(f"{copy.where}: {first_line(error)}")
    return problems


def _of_version(
    objects: Objects, client: "MlflowClient", item: Affected, digests: set[str], found: list[PhotoCopy]
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
    prepared = _prepared_md5(objects, lineage)
    found += _in_report(client, version, [Path(str(photo["file"])).name for photo in photos])
    return {str(photo["md5"]) for photo in photos if photo.get("md5")} | {
        prepared[photo["file"]] for photo in photos if photo["file"] in prepared
    }


def _in_report(client: "MlflowClient", version: Any, names: list[str]) -> list[PhotoCopy]:
    """Pictures in a version's report that show prepared photos of these names."""
    from mlflow.exceptions import MlflowException

    try:
        root = str(client.get_run(version.run_id).info.artifact_uri)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return []
    place = report_folder(str(version.tags.get("content_digest")))
    wanted = [f"{place}/{part}" for part in report_parts(names)] if names else []
    kept = sizes_below(root, place) if wanted else {}
    copies = []
    for path in (path for path in wanted if path in kept):
        folder = local_path(root)
        file = folder / path if folder is not None else None
        where = f"runs:/{version.run_id}/{path}"
        copies.append(PhotoCopy("report in MLflow", where, partial(remove_file, root, path), file))
    return copies


def _prepared_md5(objects: Objects, lineage: dict[str, Any]) -> dict[str, str]:
    """md5 of the prepared pictures of a record, by their path in artifacts/prepared.

    Raises:
        UserError: the list of them is damaged everywhere, or a store could not be asked for it.
    """
    lock = lineage.get("lock") or {}
    if problem := lock_problem(lock):
        raise UserError(f"the lock in its record: {problem}")
    outs = lock.get("prepare", {}).get("outs", [])
    tree = next((out.get("md5") for out in outs if out.get("path") == PREPARED.as_posix()), None)
    if not tree:
        return {}
    listed = objects.folder(str(tree))
    if listed.entries is None and (listed.copies.damaged or listed.copies.silent):
        raise UserError(f"the list of its prepared pictures could not be read: {listed.copies.missing}")
    return listed.entries or {}


def _in_dvc(objects: Objects, md5: set[str], found: list[PhotoCopy], problems: list[str]) -> None:
    for name, store in objects.stores:
        if name in objects.silent:
            continue
        for digest in sorted(md5):
            path = store.oid_to_path(digest)
            try:
                if store.fs.exists(path):
                    file = Path(path) if store.fs.protocol == "local" else None
                    found.append(PhotoCopy(name, str(path), _removing(store, path), file))
            except Exception as error:  # of any kind of remote
                problems.append(f"{name}: {first_line(error)}")
                break
    problems += objects.silent.values()


def _removing(store: Any, path: str) -> Callable[[], object]:
    return lambda: store.fs.remove(path)


def _deleting(folder: str) -> Callable[[], object]:
    return lambda: delete_published(folder)
