"""Pictures that were drawn and kept, so that a copy without its credentials can be recognised."""

import json
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.files import digest_file
from pipeline.layout import STATE
from pipeline.photos.similarity import NEAR, hash_distance, perceptual_hash
from pipeline.sampling.credentials import pixel_digest

if TYPE_CHECKING:
    from PIL.Image import Image

INPUTS = ("start", "mask", "control", "reference")  # of a record: the pictures that went into a drawing
PICTURE = ("pixels", "whole", "sha256", "phash")  # of an input in a record: what it is known by
IDENTIFIER = re.compile(r"[0-9a-f]{16,64}(\.dir)?")  # digests and run ids
PHASH = re.compile(r"[0-9a-f]{16}")
DEEPEST = 8  # drawings of drawings that a record tells one inside the other
MODEL = ("content_digest", "run_id", "photos_dvc_md5")  # of a record: which model drew
INDEX = STATE / "pictures.jsonl"  # a line for each picture that `dreamtrace generate` drew in this workspace


@dataclass(frozen=True)
class Match:
    """A kept picture that looks like the one asked about: `bits` of 64 differ; `exact`: all pixels are equal."""

    record: dict[str, Any]
    bits: int
    exact: bool


@dataclass(frozen=True)
class Descendant:
    """A picture that was drawn with another one as its input: its file as it was drawn, or '' in older entries; its
    record; and the file's digest, None in older entries.
    """

    file: str
    record: dict[str, Any]
    sha256: str | None = None

    @property
    def is_there(self) -> bool:
        """Whether the file still lies where it was drawn: not moved, and no other one in its place."""
        return is_file_with(self.file, self.sha256)


def is_file_with(file: str, sha256: str | None) -> bool:
    """Whether this is a file with this digest; one that cannot be read is none."""
    try:
        return bool(file) and sha256 is not None and Path(file).is_file() and digest_file(Path(file)) == sha256
    except OSError:
        return False


def remember_picture(workspace: Path, picture: "Image", record: dict[str, Any], file: Path) -> None:
    """Append a picture's digests, perceptual hash and record, and its file, to the index of the workspace.

    The file is kept relative to the workspace where it lies below it, so that both may be moved or copied together.
    """
    path = workspace / INDEX
    path.parent.mkdir(parents=True, exist_ok=True)
    row = {"pixels": pixel_digest(picture), "phash": f"{perceptual_hash(picture):016x}", "record": record}
    root, there = workspace.resolve(), file.resolve()
    place = there.relative_to(root).as_posix() if there.is_relative_to(root) else str(there)
    row |= {"file": place, "sha256": digest_file(file)}
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


def short_origin(record: dict[str, Any], deep: int = DEEPEST) -> dict[str, Any]:
    """What is kept of a drawn picture that goes into another one: the models that drew it, and what went into it.

    The record may come from anybody: what is not of the right form is left out. Drawings of drawings are told one
    inside the other as far as `deep`; from there on their pictures are in one list, `behind`, and their models in
    `models`.
    """
    found, models = _known(record, MODEL), _rows_of(record, "models", MODEL)
    behind = _rows_of(record, "behind", PICTURE)
    if deep > 0:
        for name in INPUTS:
            one = record.get(name)
            if isinstance(one, dict):
                kept: dict[str, Any] = _known(one, PICTURE)
                if isinstance(one.get("drawn"), dict):
                    kept["drawn"] = short_origin(one["drawn"], deep - 1)
                found |= {name: kept} if kept else {}
    else:
        for one in _flat(record):
            behind += [kept] if (kept := _known(one, PICTURE)) else []
            if isinstance(drawn := one.get("drawn"), dict):
                behind += _rows_of(drawn, "behind", PICTURE)
                models += [kept] if (kept := _known(drawn, MODEL)) else []
                models += _rows_of(drawn, "models", MODEL)
    return found | ({"models": models} if models else {}) | ({"behind": behind} if behind else {})


def _flat(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The inputs of a record, those of their drawings, and so on, however deep."""
    open_ends = [record]
    while open_ends:
        one = open_ends.pop()
        inputs = [given for name in INPUTS if isinstance(given := one.get(name), dict)]
        yield from inputs
        open_ends += [drawn for given in inputs if isinstance(drawn := given.get("drawn"), dict)]


def _rows_of(record: dict[str, Any], key: str, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """The rows of a list in a record, what is known of each; none where it is no list of rows."""
    rows = record.get(key)
    found = [_known(one, names) for one in rows if isinstance(one, dict)] if isinstance(rows, list) else []
    return [row for row in found if row]


def _known(values: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Digests and identifiers under these names, each of its right form."""
    form = {"phash": PHASH}
    return {
        name: value
        for name in names
        if isinstance(value := values.get(name), str) and form.get(name, IDENTIFIER).fullmatch(value)
    }


def inputs_of(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The pictures that went into a drawing, and those that went into these as far as the record says."""
    own = [dict(record[name]) for name in INPUTS if record.get(name)]
    behind = _rows_of(record, "behind", PICTURE)
    return [*own, *behind, *(deeper for one in own for deeper in inputs_of(one.get("drawn", {})))]


def models_of(record: dict[str, Any]) -> set[str]:
    """The content digests of the models that drew a picture, and of those that drew what went into it."""
    inputs = [one["drawn"] for one in inputs_of(record) if one.get("drawn")]
    rows = [row for one in (record, *inputs) for row in (one, *(one.get("models") or ()))]
    return {str(row["content_digest"]) for row in rows if "content_digest" in row}


def drawn_from(workspace: Path, sha256: Collection[str], phash: int | None) -> list[Descendant]:
    """Kept pictures that a picture with one of these digests, or one that looks like `phash`, went into: as the one to
    start from, the mask, the control or the reference picture; and pictures that these very files went into, and so on.
    """
    sources = [_Source(one, None, None) for one in sha256] + ([_Source(None, phash, None)] if phash is not None else [])
    return [kept.descendant for kept in _descendants(_kept(workspace), sources)]


def _descendants(known: "list[_Kept]", sources: "list[_Source]") -> "list[_Kept]":
    found = list[_Kept]()
    while sources:
        fresh = [kept for kept in known if any(source.is_in(kept.inputs) for source in sources)]
        known = [kept for kept in known if kept not in fresh]
        found += fresh
        sources = [kept.itself for kept in fresh]
    return found


def behind(workspace: Path, origin: dict[str, Any]) -> tuple[list[dict[str, Any]], set[str]]:
    """What went into a picture that was kept here, and what into that, and so on; a copy of a kept picture, saved
    again, counts as that.

    Args:
        origin: `sha256` of the picture's file, its `phash`, and `whole`, the digest of its pixels.

    Returns:
        Each input as a record holds it: `pixels`, `whole`, `sha256` and `phash`, those of them that are known; and the
        content digests of the models that drew these pictures.
    """
    known, found, open_ends = _kept(workspace), list[dict[str, Any]](), [origin]
    models = set[str]()
    while open_ends:
        fresh = [kept for kept in known if kept.looks.is_in(open_ends)]
        known = [kept for kept in known if kept not in fresh]
        open_ends = [one for kept in fresh for one in kept.inputs]
        found += open_ends
        models |= {content for kept in fresh for content in kept.models}
    return found, models


@dataclass(frozen=True)
class _Source:
    """A picture that may have gone into others, by what is known of it."""

    sha256: str | None
    phash: int | None
    pixels: str | None

    def is_in(self, inputs: Iterable[dict[str, Any]]) -> bool:
        """Whether it is one of the inputs of a record, or looks like one."""
        return any(self._is(one) for one in inputs)

    def _is(self, one: dict[str, Any]) -> bool:
        for known, key in ((self.sha256, "sha256"), (self.pixels, "pixels"), (self.pixels, "whole")):
            if known is not None and known == one.get(key):
                return True
        phash = one.get("phash")
        return self.phash is not None and phash is not None and hash_distance(self.phash, int(phash, 16)) <= NEAR


@dataclass(frozen=True)
class _Kept:
    """A line of the index."""

    file: str
    record: dict[str, Any]
    itself: _Source
    inputs: list[dict[str, Any]]
    models: frozenset[str]
    phash: int

    @property
    def looks(self) -> _Source:
        """The picture itself, or one that looks like it."""
        return replace(self.itself, phash=self.phash)

    @property
    def descendant(self) -> Descendant:
        return Descendant(self.file, self.record, self.itself.sha256)


def _kept(workspace: Path) -> list[_Kept]:
    """The lines of the index; a damaged one is passed over."""
    found = []
    for row in _rows(workspace):
        try:
            record = dict(row["record"])
            inputs = inputs_of(record)
            models = frozenset(models_of(record))
            inputs = [one | {"phash": None} if "phash" not in _known(one, PICTURE) else one for one in inputs]
            itself = _Source(row.get("sha256"), None, str(row["pixels"]))
            place, phash = _place(workspace, str(row.get("file", ""))), int(row["phash"], 16)
            found.append(_Kept(place, record, itself, inputs, models, phash))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return found


def drawn_with(workspace: Path, contents: Collection[str]) -> list[Descendant]:
    """Kept pictures that a model with one of these content digests drew, alone or along with others; and pictures that
    such ones went into, and so on.
    """
    known = _kept(workspace)
    drew = [kept for kept in known if not kept.models.isdisjoint(contents)]
    later = _descendants([kept for kept in known if kept not in drew], [kept.itself for kept in drew])
    return [kept.descendant for kept in (*drew, *later)]


def _place(workspace: Path, file: str) -> str:
    """Where a file of the index was drawn; '' where that is not known, or in another workspace.

    An index of an earlier version has absolute paths: in a copied workspace they lead to the files of the original.
    """
    if not file:
        return ""
    root = workspace.resolve()
    path = root / file
    if path.is_relative_to(root):
        return str(path)
    return "" if any((folder / INDEX).is_file() for folder in path.parents) else str(path)


def _rows(workspace: Path) -> Iterator[Any]:
    path = workspace / INDEX
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue
