"""Pictures that were drawn and kept, so that a copy without its credentials can be recognised."""

import json
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


def remember_picture(workspace: Path, picture: "Image", record: dict[str, Any]) -> None:
    """Append a picture's digest, perceptual hash and record to the index of the workspace."""
    path = workspace / INDEX
    path.parent.mkdir(parents=True, exist_ok=True)
    row = {"pixels": pixel_digest(picture), "phash": f"{perceptual_hash(picture):016x}", "record": record}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")


def find_picture(workspace: Path, picture: "Image") -> list[Match]:
    """Kept pictures with the same pixels; else those whose hashes differ in at most `NEAR` bits, the nearest first.

    A line that a killed process left incomplete is passed over.
    """
    path = workspace / INDEX
    if not path.is_file():
        return []
    pixels, phash = pixel_digest(picture), perceptual_hash(picture)
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
            bits = hash_distance(phash, int(row["phash"], 16))
            match = Match(dict(row["record"]), bits, row["pixels"] == pixels)
        except (ValueError, KeyError, TypeError):
            continue
        if match.exact or bits <= NEAR:
            found.append(match)
    exact = [match for match in found if match.exact]
    return exact or sorted(found, key=lambda match: match.bits)
