"""A workspace as it was when a model was trained: code, photos and parameters from the record, nothing else."""

import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import UserError
from pipeline.files import digest_value, read_json, write_bytes, write_json, write_text
from pipeline.layout import DATA, DVC_LOCK, PARAMS, STATE
from pipeline.lineage.code import CodeUnknown, tree_at
from pipeline.lineage.dvc_objects import Objects
from pipeline.lineage.git import without_repository

MARK = STATE / "reproduction.json"


class CannotRebuild(UserError):
    """Something that the record names is no longer available, or leads elsewhere; the message says what."""


def rebuild_workspace(workspace: Path, lineage: dict[str, Any], target: Path) -> None:
    """Put the recorded commit with its patch, the photos and the parameters into `target`.

    Code comes from the git repository of `workspace`, photos from its DVC cache or remote. A `target` that an earlier
    call made for the same record is kept as it is, with all that was computed there since.

    Raises:
        CannotRebuild: commit, patch or photos are not available or damaged, a path leads out of `target`, or `target`
            holds something else.
    """
    digest = digest_value(lineage)
    if (target / MARK).is_file() and read_json(target / MARK).get("record_digest") == digest:
        return
    if target.exists() and any(target.iterdir()):
        raise CannotRebuild(f"{target} exists and is something else; remove it, or name another folder with --into")
    target.mkdir(parents=True, exist_ok=True)
    try:
        _code(workspace, lineage["code"], target)
        _photos(workspace, lineage["photos"], target)
        (target / DVC_LOCK).unlink(missing_ok=True)  # nothing counts as done
        _inside(target, target / PARAMS)
        write_text(target / PARAMS, yaml.safe_dump(_pinned(lineage), sort_keys=False, allow_unicode=True))
        _repository(target)
        write_json(target / MARK, {"record_digest": digest})
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise


def _code(workspace: Path, code: dict[str, Any], target: Path) -> None:
    if code["commit"] is None:
        raise CannotRebuild("the record names no commit: the model was trained outside of git")
    try:
        tree_at(workspace, code["commit"], code["patch"], target)
    except CodeUnknown as error:
        raise CannotRebuild(f"the code cannot be rebuilt: {error}") from None


def _photos(workspace: Path, photos: dict[str, Any], target: Path) -> None:
    objects, md5 = Objects(workspace), photos["dvc_md5"]
    _inside(target, target / DATA)
    if md5 is None:
        raise CannotRebuild("the record names no DVC digest of the photos")
    folder = objects.folder(md5)
    if folder.entries is None:
        raise CannotRebuild(f"the photos ({md5}): {folder.copies.missing}")
    for name, digest in folder.entries.items():
        path = _inside(target / DATA, target / DATA / name)
        found = objects.read(digest)
        if found.content is None:
            raise CannotRebuild(f"{name} ({digest}): {found.missing}")
        write_bytes(path, found.content)
    for photo in photos["files"]:
        path = _inside(target / DATA, target / DATA / photo["source"])
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != photo["sha256"]:
            raise CannotRebuild(f"{photo['source']} is not the photo that the record names")


def _inside(folder: Path, path: Path) -> Path:
    """The path, where it stays inside of the folder: names and links come from a record that others may have written.

    Raises:
        CannotRebuild: it leads elsewhere, by `..`, as an absolute path, or by way of a symbolic link.
    """
    if path == folder or not path.resolve().is_relative_to(folder.resolve()):
        raise CannotRebuild(f"the record names {path}, which leads out of {folder}: nothing was written there")
    return path


def _pinned(lineage: dict[str, Any]) -> dict[str, Any]:
    """The recorded parameters, with the base at the commit of the hub that was trained on."""
    params, revision = lineage["params"], lineage["base"].get("revision")
    return {**params, "base": {**params["base"], "revision": revision}} if revision else params


def _repository(target: Path) -> None:
    """DVC wants git around it, and here a cache of its own: nothing may come from an earlier run."""
    subprocess.run(["git", "init", "-q", str(target)], env=without_repository(), check=True)
    local = _inside(target, target / ".dvc" / "config.local")
    local.parent.mkdir(exist_ok=True)
    local.write_text("[cache]\n    dir = cache\n")
