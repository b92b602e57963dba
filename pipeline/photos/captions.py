"""Captions: from `metadata.jsonl` (Hugging Face imagefolder style) or a text file beside each photo."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

METADATA = "metadata.jsonl"
PHOTO_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".heic", ".heif"}
HOW_TO = (
    f'write one line per photo into {METADATA}, for example {{"file_name": "photo.jpg", '
    '"text": "a photo of mysks plush toy on a table"}, or a photo.txt with the caption beside each photo'
)
IGNORED = {"thumbs.db", "desktop.ini", "readme.md", "license", "license.txt", METADATA}


@dataclass(frozen=True)
class Caption:
    """What is said of one photo; `scene` is None where nobody named it."""

    text: str
    scene: str | None = None


def list_photos(folder: Path) -> list[Path]:
    """Files that are meant as photos, by name: everything but hidden files, text, metadata and known junk."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file()
        and not path.name.startswith(".")
        and path.name.lower() not in IGNORED
        and path.suffix.lower() != ".txt"
    )


def read_captions(folder: Path, photos: list[Path], token: str) -> tuple[dict[str, Caption], list[str]]:
    """Captions by photo name, and every problem found, each as a sentence that begins with the file's name."""
    problems: list[str] = []
    if (folder / METADATA).is_file():
        found = _from_metadata(folder, problems)
    else:
        texts = {path.name: path.with_suffix(".txt") for path in photos}
        found = {name: Caption(_text(path)) for name, path in texts.items() if path.is_file()}
    names = {path.name for path in photos}
    problems += [f"{METADATA}: names {name}, which is not in {folder}" for name in sorted(set(found) - names)]
    missing = sorted(names - set(found))
    problems += [f"{name}: has no caption; {HOW_TO}" for name in missing[:1]]
    problems += [f"{name}: has no caption" for name in missing[1:]]
    for name, caption in sorted(found.items()):
        if not caption.text.strip():
            problems.append(f"{name}: its caption is empty")
        elif not has_word(caption.text, token):
            problems.append(f"{name}: its caption lacks the token '{token}': \"{caption.text}\"")
    return found, problems


def has_word(text: str, word: str) -> bool:
    """Whether `word` stands in `text` as a word of its own, whatever the case."""
    return re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text, re.IGNORECASE) is not None


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").strip()


def _from_metadata(folder: Path, problems: list[str]) -> dict[str, Caption]:
    found: dict[str, Caption] = {}
    for number, line in enumerate((folder / METADATA).read_text(encoding="utf-8", errors="replace").split("\n"), 1):
        if not line.strip():
            continue
        where = f"{METADATA}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            problems.append(f"{where}: is not JSON ({error.msg})")
            continue
        name = row.get("file_name") if isinstance(row, dict) else None
        text, scene = (row.get("text"), row.get("scene")) if isinstance(row, dict) else (None, None)
        if not isinstance(name, str) or not isinstance(text, str) or not isinstance(scene, str | None):
            problems.append(f'{where}: needs "file_name" and "text" as strings (and "scene" as one, if at all)')
        elif Path(name).name != name or name in ("", ".", ".."):
            problems.append(f"{where}: file_name '{name}' must be the name of a file in the same folder")
        elif name in found:
            problems.append(f"{where}: {name} has a caption already")
        else:
            found[name] = Caption(text.strip(), scene.strip() or None if scene else None)
    return found
