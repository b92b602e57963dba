"""Pictures that were drawn and kept, so that a copy without its credentials can be recognised."""

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.layout import STATE
from pipeline.photos.similarity import NEAR, hash_distance, perceptual_hash
from pipeline.sampling.credentials import pixel_digest

if TYPE_CHECKING:
    from PIL.Image import Image

INPUTS = ("start", "mask", "control", "reference")  # of a record: the pictures that went into a drawing
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
    """Kept pictures that a picture with one of these digests, or one that looks like `phash`, went into: as the one to
    start from, as the mask, or as the control picture; and pictures that those went into, and so on.
    """
    known, found = _kept(workspace), list[_Kept]()
    sources = [_Source(one, None, None) for one in sha256] + ([_Source(None, phash, None)] if phash is not None else [])
    while sources:
        fresh = [kept for kept in known if any(source.is_in(kept.inputs) for source in sources)]
        known = [kept for kept in known if kept not in fresh]
        found += fresh
        sources = [kept.itself for kept in fresh]
    return [Descendant(kept.file, kept.record) for kept in found]


def inputs_behind(workspace: Path, origin: dict[str, str]) -> list[dict[str, str]]:
    """What went into a picture that was kept here, and what into that, and so on.

    Args:
        origin: `sha256` of the picture's file, and `phash`.

    Returns:
        Each input as a record holds it: `pixels`, `sha256` and `phash`, those of them that are known.
    """
    known, found, open_ends = _kept(workspace), list[dict[str, str]](), [origin]
    while open_ends:
        fresh = [kept for kept in known if any(kept.itself.is_in([one]) for one in open_ends)]
        known = [kept for kept in known if kept not in fresh]
        open_ends = [one for kept in fresh for one in kept.inputs]
        found += open_ends
    return found


@dataclass(frozen=True)
class _Source:
    """A picture that may have gone into others, by what is known of it."""

    sha256: str | None
    phash: int | None
    pixels: str | None

    def is_in(self, inputs: Iterable[dict[str, str]]) -> bool:
        """Whether it is one of the inputs of a record, or looks like one."""
        return any(self._is(one) for one in inputs)

    def _is(self, one: dict[str, str]) -> bool:
        for known, key in ((self.sha256, "sha256"), (self.pixels, "pixels")):
            if known is not None and known == one.get(key):
                return True
        return self.phash is not None and "phash" in one and hash_distance(self.phash, int(one["phash"], 16)) <= NEAR


@dataclass(frozen=True)
class _Kept:
    """A line of the index."""

    file: str
    record: dict[str, Any]
    itself: _Source
    inputs: list[dict[str, str]]


def _kept(workspace: Path) -> list[_Kept]:
    """The lines of the index; a damaged one is passed over."""
    found = []
    for row in _rows(workspace):
        try:
            record = dict(row["record"])
            inputs = [dict(record[name]) for name in INPUTS if record.get(name)]
            for one in inputs:
                int(one.get("phash", "0"), 16)
            itself = _Source(None, int(row["phash"], 16), str(row["pixels"]))
            found.append(_Kept(str(row.get("file", "")), record, itself, inputs))
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
