"""The header of a safetensors file: entries are set without a change of the tensors, always in one order."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pipeline.base.file_header import read_header, set_metadata, sort_metadata
from pipeline.training.single_file import save_whole

TENSORS = {"one": torch.arange(15.0).view(3, 5), "two": torch.arange(7).bool(), "none": torch.zeros(0)}
ENTRIES = {
    "format": "pt",
    "ü": 'a "quoted" \\ line\nand\x01 \u2028',
    "dreamtrace": "{}",
    "a": "",
    "modelspec.title": "x" * 77,
}


def read(path: Path) -> dict[str, str]:
    """The metadata of a file whose tensors are as they were."""
    again = load_file(path)
    assert again.keys() == TENSORS.keys() and all(torch.equal(again[name], TENSORS[name]) for name in TENSORS)
    with safe_open(path, "pt") as file:
        return file.metadata()


@pytest.mark.parametrize("way", ["sorted", "set", "whole"])
def test_equal_content_gives_equal_bytes(way: str, tmp_path: Path) -> None:
    found = set()
    for number in range(12):  # the library's order would be the same in all of them once in a hundred billion times
        path = tmp_path / f"{number}.safetensors"
        if way == "whole":
            save_whole(TENSORS, path, ENTRIES)
        else:
            save_file(TENSORS, path, ENTRIES)
            sort_metadata(path) if way == "sorted" else set_metadata(path, {"a": ""})
        assert read(path) == ENTRIES
        found.add(path.read_bytes())
    assert len(found) == 1


def test_an_entry_is_added_in_its_place_once(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file(TENSORS, path, {"format": "pt"})
    set_metadata(path, {"dreamtrace": '{"ü": 1}'})
    assert read(path) == {"dreamtrace": '{"ü": 1}', "format": "pt"}
    before = path.stat().st_mtime_ns
    set_metadata(path, {"dreamtrace": '{"ü": 1}'})
    assert path.stat().st_mtime_ns == before
    set_metadata(path, {"dreamtrace": "2"})
    assert read(path) == {"dreamtrace": "2", "format": "pt"}


def test_a_file_without_metadata_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file(TENSORS, path)
    before = path.read_bytes()
    sort_metadata(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a safetensors file"),
        (b"what it learned", "its header is longer than the file"),
        (b"\x02" + bytes(7) + b"[]", "its header is no table"),
        (b"\x03" + bytes(7) + b"{]}", "not a safetensors file"),
    ],
)
def test_a_file_without_a_header_is_named_and_never_read_whole(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with path.open("rb") as file, pytest.raises(ValueError, match=words) as caught:
        read_header(file)
    assert str(path) in str(caught.value)
