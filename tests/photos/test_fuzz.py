"""Whatever a file holds: it is read, or it is refused in a sentence; nothing else ever comes out of it."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ImageCms

from pipeline.photos.caption_rows import read_rows
from pipeline.photos.captions import read_captions
from pipeline.photos.file_kinds import sort_files
from pipeline.photos.read import PhotoProblem, read_photo
from tests.photos.made_files import SIDE, chunk, encoded, ramp, turned_jpeg, with_chunk

QUICK = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
LONG = settings(max_examples=6000, deadline=None, suppress_health_check=list(HealthCheck), database=None)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
KINDS = (
    "iCCP",
    "eXIf",
    "tEXt",
    "zTXt",
    "iTXt",
    "pHYs",
    "gAMA",
    "cHRM",
    "sRGB",
    "tIME",
    "acTL",
    "fcTL",
    "bKGD",
    "sPLT",
    "prVt",
)
damage = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=12)


def damaged(content: bytes, changes: list[tuple[int, int]], first: int = 0, last: int | None = None) -> bytes:
    """`content` with some bytes between `first` and `last` replaced."""
    made = bytearray(content)
    span = (len(made) if last is None else last) - first
    for place, value in changes:
        made[first + place % span] = value
    return bytes(made)


def read_or_refuse(content: bytes) -> np.ndarray | None:
    try:
        photo = read_photo(content, 1_000_000, 16)
    except PhotoProblem:
        return None
    assert photo.picture.mode == "RGB" and photo.picture.info == {}
    return np.asarray(photo.picture, np.int16)


def exif_of(changes: list[tuple[int, int]]) -> None:
    content = turned_jpeg((0x010F, 2, 8, b"\x26\0\0\0"), (0x011A, 5, 1, b"\x26\0\0\0"), (0x8769, 4, 1, b"\x26\0\0\0"))
    start = content.index(b"Exif\0\0")
    size = int.from_bytes(content[start - 2 : start])
    found = read_or_refuse(damaged(content, changes, start, start + size - 2))
    assert found is not None and found.shape == (SIDE, SIDE, 3)  # damage in EXIF never stops a picture


def icc_of(changes: list[tuple[int, int]], kind: str) -> None:
    assert read_or_refuse(encoded(ramp(), kind, icc_profile=damaged(SRGB, changes))) is not None


def chunk_of(kind: str, content: bytes) -> None:
    found = read_or_refuse(with_chunk(encoded(ramp(), "PNG"), chunk(kind.encode(), content)))
    assert found is not None


def file_of(kind: str, changes: list[tuple[int, int]], length: int) -> None:
    content = damaged(encoded(ramp(), kind), changes)
    read_or_refuse(content[: len(content) - length % (len(content) // 2)])


def lines_of(name: str, content: bytes) -> None:
    problems: list[str] = []
    rows = list(read_rows(name, content, problems))
    assert all(problem.startswith(name) for problem in problems)
    assert all(isinstance(row.text, str) and row.name for row in rows)
    found = read_captions(sort_files(["a.jpg", "b.jpg", name]), lambda _: content, "mysks", "plush toy")
    "\n".join([*found.problems, *found.notes, *(one.text for one in found.found.values())]).encode()


PARTS = [
    '{"file_name": "a.jpg", "text": "mysks"}', "[", "{", "}", '"', "\n", ",", "file_name,text\n", "a.jpg", "null",
    "1e999", "\\ud800", "\ufeff", "\r", "\0", "sep=;\n", '"scene": "x"', "\\",
]  # fmt: skip
FILES = st.sampled_from(["metadata.jsonl", "metadata.csv", "meta_lat.json", "a.txt"])
FORMATS = st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF", "BMP", "HEIF", "AVIF"])
CASES = {
    "exif": (exif_of, (damage,)),
    "icc": (icc_of, (damage, st.sampled_from(["JPEG", "PNG", "TIFF", "WEBP"]))),
    "chunk": (chunk_of, (st.sampled_from(KINDS), st.binary(max_size=200))),
    "file": (file_of, (FORMATS, damage, st.integers(0, 500))),
    "bytes": (read_or_refuse, (st.binary(max_size=300),)),
    "text": (lines_of, (FILES, st.binary(max_size=200))),
    "rows": (
        lines_of,
        (FILES, st.lists(st.sampled_from(PARTS), max_size=12).map(lambda parts: "".join(parts).encode())),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_read_or_refused(case: str) -> None:
    check, strategies = CASES[case]
    QUICK(given(*strategies)(check))()


@pytest.mark.full
@pytest.mark.parametrize("case", CASES)
def test_read_or_refused_at_length(case: str) -> None:
    check, strategies = CASES[case]
    LONG(given(*strategies)(check))()
