"""Photos of a workspace by hand: added, left out, captioned; what is taken away is kept."""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.files import write_text
from pipeline.layout import DATA, PARAMS, STATE
from pipeline.params import load_params
from pipeline.photos.caption_rows import row_line, row_owner, with_text, written_rows
from pipeline.photos.captions import Caption, read_captions, text_owners
from pipeline.photos.file_kinds import MASKS, METADATA, FileKinds, NameIndex, scan_folder
from pipeline.photos.masks import mask_owners
from pipeline.photos.problem import PhotoProblem
from pipeline.photos.read import read_file, read_photo
from pipeline.photos.text import TextProblem
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
    """Take a photo out of `data/`, with its mask, its text files and its row of metadata.jsonl.

    All of them are kept in `.dreamtrace/left-out`, the row in its metadata.jsonl under the photo's name there. A row in
    another list of captions stays; a run names it.

    Returns:
        Where the photo is kept.

    Raises:
        DeskError: there is no such photo, or metadata.jsonl cannot be read.
    """
    kinds, _ = scan_folder(workspace / DATA)
    if name not in kinds.photos:
        raise DeskError(f"there is no photo {name}")
    lines, names = _caption_lines(workspace), NameIndex(kinds.photos)
    mine = [(line, row) for line, row in lines if row is not None and row_owner(row, names) == name]
    kept = free_name(workspace / LEFT_OUT / name)
    for _, row in mine:
        _append(kept.parent / METADATA, {**row, "file_name": kept.name})
    for file, photos in mask_owners(kinds).items():
        if photos == [name]:
            _move(workspace / DATA / file, kept.parent / MASKS / f"{kept.name}{Path(file).suffix}")
    for file, photos in text_owners(kinds).items():
        if photos == [name]:
            stem = kept.name.removesuffix(Path(name).suffix)
            _move(workspace / DATA / file, kept.with_name(stem + Path(file).suffix))
    _move(workspace / DATA / name, kept)
    if mine:
        _write_lines(workspace, [line for line, row in lines if (line, row) not in mine])
    track_photos(workspace)
    return kept


@dataclass(frozen=True)
class Edit:
    """Caption and scene of a photo as somebody left them, and as they were shown before."""

    text: str
    scene: str
    shown_text: str
    shown_scene: str


def save_captions(workspace: Path, edits: Mapping[str, Edit]) -> None:
    """Write what somebody changed, by photo, into metadata.jsonl; an empty caption is one by rule.

    Other rows stay as they are written, and so do other keys of a row: only `by`, who wrote the caption, goes with a
    caption that is another now.

    Raises:
        DeskError: captions are kept in other files than metadata.jsonl, which would contradict it; metadata.jsonl
            cannot be read; or photos that are gone, or whose captions or scenes were changed meanwhile.
    """
    kinds, _ = scan_folder(workspace / DATA)
    others = [*kinds.captions, *(file for file in kinds.metadata if file != METADATA)]
    if others:
        raise DeskError(f"captions are kept in {', '.join(others)}: change them there")
    lines = _caption_lines(workspace)
    texts = {name: edit.text.strip() for name, edit in edits.items() if edit.text.strip() != edit.shown_text.strip()}
    scenes = {
        name: edit.scene.strip() for name, edit in edits.items() if edit.scene.strip() != edit.shown_scene.strip()
    }
    if problems := _changed_meanwhile(workspace, kinds, edits, texts, scenes):
        raise DeskError("nothing was saved:\n" + "\n".join(problems))
    names, made = NameIndex(kinds.photos), []
    for line, row in lines:
        name = row_owner(row, names) if row is not None else None
        changed = _edited(row, texts.pop(name, None), scenes.pop(name, None)) if row is not None and name else row
        made.append(line if changed == row else row_line(changed))
    for name in sorted(texts.keys() | scenes.keys()):
        made.append(row_line(_edited({"file_name": name, "text": ""}, texts.get(name), scenes.get(name))))
    _write_lines(workspace, made)
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


def _changed_meanwhile(
    workspace: Path, kinds: FileKinds, edits: Mapping[str, Edit], texts: Mapping[str, str], scenes: Mapping[str, str]
) -> list[str]:
    """Why the new texts and scenes cannot be written: what was shown is no longer what is there."""
    subject, folder = load_params(workspace / PARAMS).subject, workspace / DATA
    known = read_captions(kinds, lambda file: (folder / file).read_bytes(), subject.token, subject.class_noun).found
    problems = []
    for name in sorted(texts.keys() | scenes.keys()):
        now = known.get(name, Caption(""))
        text, scene = (now.text if now.given is None else now.given), now.scene or edits[name].shown_scene
        if name not in kinds.photos:
            problems.append(f"{name}: is no longer among the photos")
        elif (name in texts and text not in (texts[name], edits[name].shown_text.strip())) or (
            name in scenes and scene not in (scenes[name], edits[name].shown_scene)
        ):
            problems.append(f"{name}: its caption or scene was changed meanwhile; load the page again")
    return problems


def _edited(row: dict[str, Any], text: str | None, scene: str | None) -> dict[str, Any]:
    """A row with another text and another scene; None: as it is."""
    made = {**row}
    if text is not None:
        made = with_text({key: value for key, value in row.items() if key != "by"}, text)
    if scene is not None:
        made = {key: value for key, value in made.items() if key != "scene"} | ({"scene": scene} if scene else {})
    return made


def _caption_lines(workspace: Path) -> list[tuple[str, dict[str, Any] | None]]:
    file = workspace / DATA / METADATA
    try:
        return written_rows(file.read_bytes()) if file.is_file() else []
    except TextProblem as problem:
        where = f", line {problem.line}" if problem.line else ""
        raise DeskError(f"{METADATA}{where}: {problem}; correct the file first") from None


def _write_lines(workspace: Path, lines: Iterable[str]) -> None:
    write_text(workspace / DATA / METADATA, "".join(f"{line}\n" for line in lines))


def _append(file: Path, row: dict[str, Any]) -> None:
    before = file.read_text(encoding="utf-8") if file.is_file() else ""
    write_text(file, f"{before}{row_line(row)}\n")


def _move(file: Path, target: Path) -> None:
    """Move a file; what is there already stays."""
    target.parent.mkdir(parents=True, exist_ok=True)
    file.rename(free_name(target) if target.exists() else target)


def track_photos(workspace: Path) -> None:
    """Let DVC know that the photos have changed, where the workspace is under DVC."""
    if (workspace / ".dvc").is_dir():
        run_dvc(workspace, "add", "--quiet", str(DATA))
