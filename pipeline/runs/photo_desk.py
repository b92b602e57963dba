"""Photos of a workspace by hand: added, left out, captioned; what is taken away is kept."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import UserError
from pipeline.files import write_jsonl, write_text
from pipeline.layout import DATA, PARAMS, STATE
from pipeline.params import load_params
from pipeline.photos.caption_rows import read_rows
from pipeline.photos.file_kinds import METADATA, scan_folder
from pipeline.photos.problem import PhotoProblem
from pipeline.photos.read import read_file, read_photo
from pipeline.runs.dvc import run_dvc
from pipeline.runs.profiles import free_name
from pipeline.runs.subject_values import read_commented, write_commented

LEFT_OUT = STATE / "left-out"


class DeskError(UserError):
    """Photos or captions cannot be changed so; every problem is listed."""


def add_photos(workspace: Path, arrived: Path) -> list[str]:
    """Move the photos of the folder `arrived` into `data/`, all of them or none; returns their names.

    Raises:
        DeskError: one cannot be read, or its name is taken.
    """
    params = load_params(workspace / PARAMS).prepare
    data = workspace / DATA
    names, problems = sorted(path.name for path in arrived.iterdir()), []
    for name in names:
        try:
            read_photo(read_file(arrived / name), params.max_pixels, params.min_side)
        except PhotoProblem as problem:
            problems.append(f"{name}: {problem}")
        if (data / name).exists():
            problems.append(f"{name}: there is a photo of this name already")
    if problems:
        raise DeskError("nothing was added:\n" + "\n".join(problems))
    data.mkdir(exist_ok=True)
    for name in names:
        shutil.move(arrived / name, data / name)
    track_photos(workspace)
    return names


def leave_out(workspace: Path, name: str) -> Path:
    """Take a photo out of `data/`; it is kept below .dreamtrace, and its caption stays where it is written.

    Raises:
        DeskError: there is no such photo.
    """
    kinds, _ = scan_folder(workspace / DATA)
    if name not in kinds.photos:
        raise DeskError(f"there is no photo {name}")
    captions = _rows(workspace)
    kept = free_name(workspace / LEFT_OUT / name)
    kept.parent.mkdir(parents=True, exist_ok=True)
    (workspace / DATA / name).rename(kept)
    if kinds.metadata == [METADATA]:
        write_jsonl(workspace / DATA / METADATA, [row for row in captions if row["file_name"] != name])
    track_photos(workspace)
    return kept


def save_captions(workspace: Path, captions: Mapping[str, str], scenes: Mapping[str, str]) -> None:
    """Write captions and scenes of all photos into metadata.jsonl; an empty one is a caption by rule.

    Raises:
        DeskError: captions are kept in other files than metadata.jsonl, which would contradict it.
    """
    kinds, _ = scan_folder(workspace / DATA)
    others = [*kinds.captions, *(file for file in kinds.metadata if file != METADATA)]
    if others:
        raise DeskError(f"captions are kept in {', '.join(others)}: change them there")
    rows = []
    for name in kinds.photos:
        scene = scenes.get(name, "").strip()
        rows.append({"file_name": name, "text": captions.get(name, "").strip()} | ({"scene": scene} if scene else {}))
    write_jsonl(workspace / DATA / METADATA, rows)
    track_photos(workspace)


def set_held_out(workspace: Path, count: int) -> None:
    """Set prepare.heldout in params.yaml, whose comments stay.

    Raises:
        DeskError: a negative number.
    """
    if count < 0:
        raise DeskError("the number of photos that are held out cannot be negative")
    load_params(workspace / PARAMS)
    values = read_commented((workspace / PARAMS).read_text(encoding="utf-8-sig"))
    values["prepare"]["heldout"] = count
    write_text(workspace / PARAMS, write_commented(values))


def _rows(workspace: Path) -> list[dict[str, str]]:
    file = workspace / DATA / METADATA
    if not file.is_file():
        return []
    found = read_rows(METADATA, file.read_bytes(), [])
    return [
        {"file_name": row.name, "text": row.text or ""} | ({"scene": row.scene} if row.scene else {}) for row in found
    ]


def track_photos(workspace: Path) -> None:
    """Let DVC know that the photos have changed, where the workspace is under DVC."""
    if (workspace / ".dvc").is_dir():
        run_dvc(workspace, "add", "--quiet", str(DATA))
