"""Copies of photos among the files of a workspace: photos, prepared pictures, and what reports show of them."""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.files import read_jsonl
from pipeline.layout import MANIFEST, REPORT, REPORT_GRID

SKIPPED = {".git", ".venv", "node_modules", "__pycache__"}  # folders
NO_PICTURES = {
    ".safetensors", ".bin", ".ckpt", ".pt", ".npy", ".npz", ".db", ".db-wal", ".json", ".jsonl", ".yaml", ".yml",
    ".html", ".css", ".csv", ".txt", ".md", ".py", ".pyc", ".log", ".lock", ".dvc", ".toml",
}  # fmt: skip
SHOWN = "photos"  # the folder of a report with the prepared pictures


@dataclass
class OnDisk:
    """What was found: kind and path of each copy; md5 of each of them; files that could not be read."""

    found: list[tuple[str, Path]] = field(default_factory=list)
    md5: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)


def copies_on_disk(workspace: Path, sha256: Iterable[str], md5: Iterable[str]) -> OnDisk:
    """Every file below a workspace that is one of these photos, was prepared from one, or shows one in a report.

    Isolated runs, reproduced ones, photos that were left out and folders kept beside `data` lie below it, too.

    Args:
        sha256: of the photos.
        md5: of pictures that are known to have been prepared from them.
    """
    wanted, result = set(sha256), OnDisk(md5=set(md5))
    files, objects = _files(workspace)
    reports: dict[Path, set[str]] = {}  # a report's folder: names of the pictures in it
    for manifest in (path for path in files if path.parts[-len(MANIFEST.parts) :] == MANIFEST.parts):
        root = manifest.parents[len(MANIFEST.parts) - 1]
        for prepared in _prepared(manifest, wanted, result):
            reports.setdefault(root / REPORT, set()).add(prepared.name)
            if prepared.is_file():
                result.md5.add(_digests(prepared)[1])
    pictures = []
    for path in files:
        kind = _kind(path, wanted, result)
        if kind is not None:
            pictures.append((kind, path))
        if kind == "report":
            reports.setdefault(path.parent.parent, set()).add(path.name)
    shown = [("report", path) for folder, names in reports.items() for path in _views(folder, names)]
    result.md5 |= md5_in_lists((path for path in objects.values() if path.suffix == ".dir"), result.md5)
    stored = [("object of DVC", path) for md5, path in objects.items() if md5 in result.md5]
    # What is known by its neighbour alone is deleted before that.
    result.found = list(dict.fromkeys([*shown, *pictures, *stored]))
    return result


def report_parts(names: Iterable[str]) -> list[str]:
    """The files of a report, relative to its folder, that show pictures of these names: large, small, and together."""
    each = [f"{folder}{SHOWN}/{name}" for name in names for folder in ("", "thumbs/")]
    return [*each, REPORT_GRID.name]


def md5_in_lists(lists: Iterable[Path], md5: set[str]) -> set[str]:
    """md5 of what shows a picture beside it, in lists of folders as DVC keeps them (`<md5>.dir`)."""
    found = set()
    for path in lists:
        try:
            entries = {str(entry["relpath"]): str(entry["md5"]) for entry in json.loads(path.read_text("utf-8"))}
        except (OSError, ValueError, KeyError, TypeError):
            continue
        names = [name.removeprefix(f"{SHOWN}/") for name, one in entries.items() if _is_shown(name) and one in md5]
        if names:
            found |= {entries[part] for part in report_parts(names) if part in entries}
    return found


def _is_shown(name: str) -> bool:
    return name.startswith(f"{SHOWN}/") and name.count("/") == 1


def _files(root: Path) -> tuple[list[Path], dict[str, Path]]:
    """The files below a folder; and apart from them the objects of DVC (`files/md5/ab/cd...`) by their md5."""
    files, objects = list[Path](), dict[str, Path]()
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in SKIPPED)
        inside = Path(folder)
        stored = inside.parts[-3:-1] == ("files", "md5")
        for path in (inside / name for name in sorted(names)):
            if not path.is_file():
                continue
            if stored:
                objects[f"{inside.name}{path.name}"] = path
            else:
                files.append(path)
    return files, objects


def _prepared(manifest: Path, wanted: set[str], result: OnDisk) -> list[Path]:
    """The pictures that were prepared from the photos, by a manifest."""
    try:
        rows = [row for row in read_jsonl(manifest) if row["sha256"] in wanted]
        return [manifest.parent / str(row["file"]) for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        result.problems.append(f"{manifest} cannot be read ({error!r})")
        return []


def _kind(path: Path, wanted: set[str], result: OnDisk) -> str | None:
    """What kind of copy a file is; None: it is none. The md5 of a photo is added to what is looked for."""
    if path.suffix.lower() in NO_PICTURES:
        return None
    try:
        sha256, md5 = _digests(path)
    except OSError as error:
        result.problems.append(f"{path} cannot be read ({error.strerror})")
        return None
    if sha256 in wanted:
        result.md5.add(md5)
        return "photo"
    if md5 not in result.md5:
        return None
    return "report" if path.parent.name == SHOWN else "prepared picture"


def _views(folder: Path, names: set[str]) -> list[Path]:
    """Pictures of a report that show prepared ones made small or side by side."""
    return [path for part in report_parts(sorted(names)) if (path := folder / part).is_file()]


def _digests(path: Path) -> tuple[str, str]:
    """sha256 and md5 of a file."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            sha256.update(chunk)
            md5.update(chunk)
    return sha256.hexdigest(), md5.hexdigest()
