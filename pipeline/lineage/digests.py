"""Digests that stand for many things at once: a tracked folder as DVC has it, a model as it computes."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipeline.base.digest import folder_digest
from pipeline.base.resolve import COMPONENTS
from pipeline.files import digest_file
from pipeline.yaml_files import read_yaml


def dvc_folder_md5(folder: Path) -> str:
    """The `<md5>.dir` that DVC gives a folder: md5 over the sorted list of its files' paths and md5s.

    What a `.dvcignore` of the repository around the folder names does not count.
    """
    return _listing_md5(folder, _tracked_files(folder.resolve()))


def future_folder_md5(folder: Path, place: Path) -> str:
    """The same of a copy of `folder` that a run will put in `place`: it has no hidden files, and the rules of the
    repository around `place` hold for it, not those for where the files are now.
    """
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    files = [name for name in files if not any(part.startswith(".") for part in name.split("/"))]
    root = _repository(place.resolve())
    if root is not None:
        rules = _ignore_rules(root)
        files = [name for name in files if not rules.is_ignored_file(str(place.resolve() / name))]
    return _listing_md5(folder, files)


def ignored_by_dvc(folder: Path, names: Iterable[str]) -> list[str]:
    """Those of the files of a folder, as paths below it, that a `.dvcignore` of the repository around it names."""
    root = _repository(folder.resolve())
    if root is None:
        return []
    rules = _ignore_rules(root)
    return [name for name in names if rules.is_ignored_file(str(folder.resolve() / name))]


def _listing_md5(folder: Path, files: list[str]) -> str:
    entries = [{"md5": digest_file(folder / name, "md5"), "relpath": name} for name in sorted(files)]
    return hashlib.md5(json.dumps(entries, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def _tracked_files(folder: Path) -> list[str]:
    """The files of a folder that DVC counts, as paths below it."""
    root = _repository(folder)
    if root is None:
        return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    rules = _ignore_rules(root)
    return [Path(path).relative_to(folder).as_posix() for path in rules.find(rules.fs, str(folder))]


def _repository(folder: Path) -> Path | None:
    return next((parent for parent in (folder, *folder.parents) if (parent / ".dvc").is_dir()), None)


def _ignore_rules(root: Path) -> Any:
    from dvc.fs import LocalFileSystem
    from dvc.ignore import DvcIgnoreFilter

    return DvcIgnoreFilter(LocalFileSystem(), str(root))


def tracked_md5(dvc_file: Path) -> str | None:
    """The md5 that a .dvc file records for its one output; None where there is no such file, or it records none.

    Raises:
        YamlError: it is not YAML.
    """
    if not dvc_file.is_file():
        return None
    found = read_yaml(dvc_file)
    outs = found.get("outs") if isinstance(found, dict) else None
    first = outs[0] if isinstance(outs, list) and outs else None
    return str(first["md5"]) if isinstance(first, dict) and first.get("md5") else None


def content_digest(model: Path) -> str:
    """sha256 over a tuned model's tensors and the text of its tokenizer and scheduler."""
    return folder_digest(model, COMPONENTS)
