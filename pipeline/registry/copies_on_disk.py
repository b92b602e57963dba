"""Copies of photos among the files of a workspace: photos, prepared pictures, and what reports show of them."""

import hashlib
import json
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.files import read_jsonl
from pipeline.layout import DATA, MANIFEST, PREPARED, REPORT, REPORT_GRID, SAMPLES, SHAPE_FILE, STATE

SKIPPED = {".git", ".venv", "node_modules", "__pycache__"}  # folders
NO_PICTURES = {
    ".safetensors", ".bin", ".ckpt", ".pt", ".pth", ".onnx", ".gguf", ".npy", ".npz", ".parquet", ".pkl", ".db",
    ".db-wal", ".db-shm", ".db-journal", ".json", ".jsonl", ".yaml", ".yml", ".html", ".css", ".js", ".csv", ".txt",
    ".md", ".py", ".pyc", ".log", ".lock", ".dvc", ".toml", ".tar", ".gz", ".zip", ".whl", ".mp4", ".mov",
}  # fmt: skip
LARGEST = 1 << 29  # bytes of a file that may be a photo
OWN = {DATA.parts[0]: 1, PREPARED.parts[0]: 1, REPORT.parts[0]: 1, STATE.parts[0]: 3}  # followed as links, how deep
SHOWN = "photos"  # the folder of a report with the prepared pictures
DRAWN = "picture that was drawn from it"
SHAPE = str(SHAPE_FILE)  # of samples and of reports: what a photo's subject looks like in outline


@dataclass
class OnDisk:
    """What was found: kind and path of each copy; md5 of each of them; files that could not be read."""

    found: list[tuple[str, Path]] = field(default_factory=list)
    md5: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)


def copies_on_disk(workspace: Path, sha256: Iterable[str], md5: Iterable[str], drawn: Collection[str] = ()) -> OnDisk:
    """Every file below a workspace that is one of these photos, was prepared from one, or shows one in a report.

    Isolated runs, reproduced ones, photos that were left out and folders kept beside `data` lie below it, too.

    Args:
        sha256: of the photos.
        md5: of pictures that are known to have been prepared from them.
        drawn: sha256 of pictures that were drawn from them.
    """
    wanted, result = set(sha256), OnDisk(md5=set(md5))
    files, objects = _files(workspace, result)
    reports: dict[Path, set[str]] = {}  # a report's folder: names of the pictures in it
    shapes: list[tuple[str, Path]] = []
    for manifest in (path for path in files if path.parts[-len(MANIFEST.parts) :] == MANIFEST.parts):
        root = manifest.parents[len(MANIFEST.parts) - 1]
        for prepared in _prepared(manifest, wanted, result):
            reports.setdefault(root / REPORT, set()).add(prepared.name)
            if (shape := root / SAMPLES / SHAPE.format(prepared.name)).is_file():
                shapes.append(("shape of its subject", shape))
                if (found := _digests(shape, result)) is not None:
                    result.md5.add(found[1])
            if (found := _digests(prepared, result)) is not None:
                result.md5.add(found[1])
    pictures: list[tuple[str, Path]] = []
    outlines = {path for _, path in shapes}
    for path in (file for file in files if file not in outlines):
        kind = _kind(path, wanted, drawn, result)
        if kind is not None:
            pictures.append((kind, path))
        if kind == "report":
            reports.setdefault(path.parent.parent, set()).add(path.name)
    known = {path for _, path in pictures}
    shown = [("report", path) for folder, names in reports.items() for path in _views(folder, names, known)]
    result.md5 |= md5_in_lists((path for _, path in objects if path.suffix == ".dir"), result.md5)
    stored = [("object of DVC", path) for md5, path in objects if md5 in result.md5]
    # What is known by its neighbour alone is deleted before that.
    result.found = list(dict.fromkeys([*shown, *shapes, *pictures, *stored]))
    return result


def report_parts(names: Iterable[str]) -> list[str]:
    """The files of a report, relative to its folder, that show pictures of these names: large, small, and together."""
    parts = [part for name in names for part in (f"{SHOWN}/{name}", SHAPE.format(name))]
    each = [f"{folder}{part}" for part in parts for folder in ("", "thumbs/")]
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


def _files(root: Path, result: OnDisk) -> tuple[list[Path], list[tuple[str, Path]]]:
    """The files below a folder; and apart from them the objects of DVC (`files/md5/ab/cd...`), each with its md5."""
    files, objects, seen = list[Path](), list[tuple[str, Path]](), set[str]()

    def unreadable(error: OSError) -> None:
        result.problems.append(f"{error.filename} cannot be read ({error.strerror})")

    for folder, folders, names in os.walk(root, followlinks=True, onerror=unreadable):
        inside = Path(folder)
        folders[:] = sorted(name for name in folders if name not in SKIPPED and _is_entered(root, inside / name))
        if (real := os.path.realpath(folder)) in seen:
            folders.clear()
            continue
        seen.add(real)
        stored = inside.parts[-3:-1] == ("files", "md5")
        for path in (inside / name for name in sorted(names)):
            if not os.path.isfile(path):  # which says no where permission is denied
                continue
            if stored:
                objects.append((f"{inside.name}{path.name}", path))
            else:
                files.append(path)
    return files, objects


def _is_entered(root: Path, folder: Path) -> bool:
    """Whether a folder is looked into: a link only where it stands for one of the workspace's own folders."""
    if not folder.is_symlink():
        return True
    parts = folder.relative_to(root).parts
    return len(parts) <= OWN.get(parts[0], 0)


def _prepared(manifest: Path, wanted: set[str], result: OnDisk) -> list[Path]:
    """The pictures that were prepared from the photos, by a manifest."""
    try:
        rows = [row for row in read_jsonl(manifest) if row["sha256"] in wanted]
        return [manifest.parent / str(row["file"]) for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        result.problems.append(f"{manifest} cannot be read ({error!r})")
        return []


def _kind(path: Path, wanted: set[str], drawn: Collection[str], result: OnDisk) -> str | None:
    """What kind of copy a file is; None: it is none. The md5 of a photo is added to what is looked for."""
    if path.suffix.lower() in NO_PICTURES or (found := _digests(path, result)) is None:
        return None
    sha256, md5 = found
    if sha256 in wanted:
        result.md5.add(md5)
        return "photo"
    if sha256 in drawn:
        return DRAWN
    if md5 not in result.md5:
        return None
    return "report" if path.parent.name == SHOWN else "prepared picture"


def _views(folder: Path, names: set[str], known: set[Path]) -> list[Path]:
    """Pictures of a report that show prepared ones made small or side by side.

    Under a name that another photo has in this report by now there is none.
    """
    mine = [name for name in sorted(names) if (path := folder / SHOWN / name) in known or not path.exists()]
    return [path for part in (report_parts(mine) if mine else []) if (path := folder / part).is_file()]


def _digests(path: Path, result: OnDisk) -> tuple[str, str] | None:
    """sha256 and md5 of a file; None where it is gone by now, too large for a photo, or cannot be read."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    try:
        if path.stat().st_size > LARGEST:
            return None
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                sha256.update(chunk)
                md5.update(chunk)
    except FileNotFoundError:  # another program's temporary file
        return None
    except OSError as error:
        result.problems.append(f"{path} cannot be read ({error.strerror})")
        return None
    return sha256.hexdigest(), md5.hexdigest()
