"""Files that versions share, kept once in the registry's artifact store, each under the digest of its bytes.

    <where the experiment keeps its files>/parts/<sha256>

A version's own folder holds what was learned, and `parts.json`: which shared file belongs where.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.base.learned import LEARNED, learned_files
from pipeline.errors import UserError
from pipeline.files import digest_file, link_or_copy, read_json, scratch_folder, write_json
from pipeline.registry.artifacts import Artifacts, ArtifactsAway, ArtifactsSilent, local_path
from pipeline.registry.lock import registration_lock
from pipeline.registry.stored_files import sizes_below

if TYPE_CHECKING:
    from mlflow import MlflowClient

PARTS, INDEX = "parts", "parts.json"
FORMAT = 1


class PartMissing(UserError):
    """A file that versions share is not where their `parts.json` says, or was changed."""


def shared_files(model: Path) -> list[Path]:
    """The files of a model folder that other versions have as well: frozen weights and the tokenizer."""
    if not (model / LEARNED).is_file():
        return []
    own = {path.resolve() for path in learned_files(model)}
    weights = [path for path in sorted(model.glob("*/*.safetensors")) if path.resolve() not in own]
    return [*weights, *sorted(path for path in (model / "tokenizer").glob("*") if path.is_file())]


def store_shared(client: "MlflowClient", run_id: str, model: Path, target: Path) -> dict[str, Path]:
    """Upload the shared files of a model folder that the store lacks, and write to `target` what is the version's own.

    Files that are there already, in their whole length, are not sent again.

    Returns:
        The shared files by their digests.

    Raises:
        ArtifactsSilent: the store does not answer.
    """
    root = store_root(client, run_id)
    paths = {path: digest_file(path) for path in shared_files(model)}
    shared = {digest: path for path, digest in paths.items()}
    _send(root, _missing(root, shared))
    files = {
        path.relative_to(model).as_posix(): {"sha256": digest, "size": path.stat().st_size}
        for path, digest in paths.items()
    }
    shutil.copytree(model, target, copy_function=link_or_copy, ignore=_without(model, files))
    if files:
        write_json(target / INDEX, {"format": FORMAT, "at": f"{root}/{PARTS}", "files": files})
    return shared


@contextmanager
def holding_parts(client: "MlflowClient", run_id: str, shared: dict[str, Path]) -> Iterator[None]:
    """Hold the right to remove shared files, with all of `shared` in the store: for the moment in which a version that
    needs them is made. What was removed since its upload is sent again, before that.

    Raises:
        Busy: others have kept this one waiting too long.
        ArtifactsSilent: the store does not answer.
    """
    root = store_root(client, run_id)
    while True:
        with parts_lock(client):
            missing = _missing(root, shared)
            if not missing:
                yield
                return
        _send(root, missing)


def parts_lock(client: "MlflowClient") -> AbstractContextManager[None]:
    """The right to remove shared files, or to make a version that relies on them."""
    return registration_lock(client, "dreamtrace.parts")


def store_root(client: "MlflowClient", run_id: str) -> str:
    """The address of the store that a run's experiment keeps its files in; `parts` lies there."""
    experiment = client.get_experiment(client.get_run(run_id).info.experiment_id)
    return str(experiment.artifact_location).rstrip("/")


def _missing(root: str, shared: dict[str, Path]) -> dict[str, Path]:
    """Of `shared` what the store lacks, or has in another length."""
    there = sizes_below(root, PARTS)
    return {digest: path for digest, path in shared.items() if there.get(f"{PARTS}/{digest}") != path.stat().st_size}


def _send(root: str, missing: dict[str, Path]) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    with scratch_folder() as scratch:
        for digest, path in missing.items():
            named = Path(scratch) / digest
            link_or_copy(path, named)
            get_artifact_repository(root).log_artifact(str(named), PARTS)
            named.unlink()


def whole_model(folder: Path, target: Path, verifying: bool = False) -> Path:
    """The folder of a version's own files with the shared ones in their places; `folder` itself where it has all.

    Files are linked into the new folder `target`. Those of a store that is not on this machine are kept in this user's
    cache; with `verifying` they are fetched from the store itself, and what is missing or changed is left so, for the
    comparison with the record.

    Raises:
        PartMissing: a shared file is missing, or is another one.
        ArtifactsSilent: the store does not answer.
    """
    if not (folder / "model_index.json").is_file():
        raise PartMissing(f"{folder} holds no weights: somebody deleted those of the version (`dreamtrace list`)")
    if not (folder / INDEX).is_file():
        return folder
    index = read_index(folder / INDEX)
    beside = around(folder, {entry["sha256"] for entry in index["files"].values()})
    shutil.copytree(folder, target, copy_function=_link, ignore=shutil.ignore_patterns(INDEX))
    for name, entry in index["files"].items():
        try:
            part = _part(beside, str(index["at"]), entry["sha256"], int(entry["size"]), target.parent, verifying)
        except ArtifactsSilent:
            raise
        except (ArtifactsAway, PartMissing) as error:
            if verifying:
                continue
            raise PartMissing(f"{name} of the version is shared with others, and cannot be had: {error}") from None
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).symlink_to(part.resolve())
    return target


def around(folder: Path, digests: set[str]) -> Path | None:
    """The folder of shared files that a version's folder lies in, also where both were moved or copied together."""
    places = (parent / PARTS for parent in folder.resolve().parents)
    return next((place for place in places if any((place / digest).is_file() for digest in digests)), None)


def _part(beside: Path | None, at: str, digest: str, size: int, scratch: Path, verifying: bool) -> Path:
    """A shared file: in place around the version's folder or at its address, or fetched."""
    found = beside / digest if beside is not None else local_path(f"{at}/{digest}")
    if found is not None:
        if not found.is_file():
            raise PartMissing(f"{found} does not exist")
        if not verifying and found.stat().st_size != size:
            raise PartMissing(f"{found} has {found.stat().st_size} bytes instead of {size}")
        return found
    if verifying:
        return _fetch(f"{at}/{digest}", scratch)
    kept = _cache() / digest
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".fetched-") as fresh:
            got = _fetch(f"{at}/{digest}", Path(fresh))
            if digest_file(got) != digest:
                raise PartMissing(f"{at}/{digest} was changed: its bytes have another digest")
            if not got.is_relative_to(fresh):  # in place after all: the store's own file
                return got
            os.replace(got, kept)
    return kept


def _fetch(uri: str, scratch: Path) -> Path:
    return Artifacts(None, scratch / "fetched").at(uri)


def _cache() -> Path:
    """Where fetched files are kept: below XDG_CACHE_HOME, for this user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dreamtrace" / PARTS


def read_index(path: Path) -> dict[str, Any]:
    """What `parts.json` of a version holds: `at`, and `files` with the sha256 and size of each.

    Raises:
        PartMissing: it cannot be read.
    """
    try:
        index: dict[str, Any] = read_json(path)
        known = index["format"] == FORMAT and isinstance(index["at"], str)
        for name, entry in index["files"].items():
            known &= not Path(name).is_absolute() and ".." not in Path(name).parts
            known &= len(entry["sha256"]) == 64 and set(entry["sha256"]) <= set("0123456789abcdef")
            known &= isinstance(entry["size"], int)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PartMissing(f"{path} cannot be read: {error!r}") from None
    if not known:
        raise PartMissing(f"{path} was written by another version of dreamtrace, or was changed")
    return index


def _link(source: str, target: str) -> None:
    os.symlink(os.path.realpath(source), target)


def _without(model: Path, files: dict[str, Any]) -> Any:
    def ignored(folder: str, names: list[str]) -> set[str]:
        below = Path(folder).relative_to(model)
        return {name for name in names if (below / name).as_posix() in files}

    return ignored
