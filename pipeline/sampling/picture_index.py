"""Pictures that were drawn and kept, so that a copy without its credentials can be recognised."""

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.layout import STATE
from pipeline.photos.similarity import NEAR, hash_distance, perceptual_hash
from pipeline.sampling.credentials import pixel_digest

if TYPE_CHECKING:
    from PIL.Image import Image

INDEX = STATE / "pictures.jsonl"  # a line for each picture that `dreamtrace generate` drew in this workspace


@dataclass(frozen=True)
class Match:
    """A kept picture that looks like the one asked about: `bits` of 64 differ; `exact`: all pixels are equal."""

    record: dict[str, Any]
    bits: int
    exact: bool


@dataclass(frozen=True)
class Descendant:
    """A picture that was drawn with another one as its input: its file, or '' in older entries; and its record."""

    file: str
    record: dict[str, Any]


def remember_picture(workspace: Path, picture: "Image", record: dict[str, Any], file: Path) -> None:
    """Append a picture's digest, perceptual hash, record and file to the index of the workspace."""
    path = workspace / INDEX
    path.parent.mkdir(parents=True, exist_ok=True)
    row = {"pixels": pixel_digest(picture), "phash": f"{perceptual_hash(picture):016x}", "record": record}
    row["file"] = str(file.resolve())
    with path.open("a", encoding="utf-8") as index:
        index.write(json.dumps(row, ensure_ascii=False) + "\n")


def find_picture(workspace: Path, picture: "Image") -> list[Match]:
    """Kept pictures with the same pixels; else those whose hashes differ in at most `NEAR` bits, the nearest first.

    A line that a killed process left incomplete is passed over.
    """
    pixels, phash = pixel_digest(picture), perceptual_hash(picture)
    found = []
    for row in _rows(workspace):
        try:
            bits = hash_distance(phash, int(row["phash"], 16))
            match = Match(dict(row["record"]), bits, row["pixels"] == pixels)
        except (ValueError, KeyError, TypeError):
            continue
        if match.exact or bits <= NEAR:
            found.append(match)
    exact = [match for match in found if match.exact]
    return exact or sorted(found, key=lambda match: match.bits)


def drawn_from(workspace: Path, sha256: Collection[str], phash: int | None) -> list[Descendant]:
    """Kept pictures that started from a picture with one of these digests, or from one that looks like `phash`; or that
    followed such a picture (control).
    """
    found = []
    for row in _rows(workspace):
        try:
            inputs = [row["record"].get(name) or {} for name in ("start", "control")]
            hashes = [int(one["phash"], 16) for one in inputs if "phash" in one]
            near = phash is not None and any(hash_distance(phash, one) <= NEAR for one in hashes)
            if near or any(one.get("sha256") in sha256 for one in inputs):
                found.append(Descendant(str(row.get("file", "")), dict(row["record"])))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return found


def drawn_with(workspace: Path, contents: Collection[str]) -> list[Descendant]:
    """Kept pictures that a model with one of these content digests drew, alone or along with others."""
    found = []
    for row in _rows(workspace):
        try:
            models = [row["record"], *(row["record"].get("models") or ())]
            if any(model.get("content_digest") in contents for model in models):
                found.append(Descendant(str(row.get("file", "")), dict(row["record"])))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return found


def _rows(workspace: Path) -> Iterator[Any]:
    path = workspace / INDEX
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue
