"""The index of drawn pictures: nothing that a stranger wrote hides a line, and no chain of drawings is too long."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.sampling.picture_index import DEEPEST, drawn_from, drawn_with, inputs_of, models_of, short_origin
from pipeline.sampling.picture_index import remember_picture as remember
from tests.tiny import picture

PHOTO, MODEL = "a" * 64, "b" * 64


def chain(length: int) -> dict[str, Any]:
    """The record of a picture that a photo went into by way of others, `length` drawings in all."""
    record: dict[str, Any] = {"content_digest": MODEL, "start": {"sha256": PHOTO, "phash": "0123456789abcdef"}}
    for number in range(1, length):
        drawn = short_origin(record)
        record = {"content_digest": f"{number:064x}", "start": {"sha256": f"{number:064x}", "drawn": drawn}}
    return record


def kept(folder: Path, record: dict[str, Any]) -> None:
    picture(1, 64, 64).save(folder / "drawn.png")
    remember(folder, picture(1, 64, 64), record, folder / "drawn.png")


@pytest.mark.parametrize("length", [2, DEEPEST + 1, DEEPEST + 2, 3 * DEEPEST])
def test_the_first_photo_of_a_long_chain_and_its_model_are_found(tmp_path: Path, length: int) -> None:
    record = chain(length)
    kept(tmp_path, record)
    assert len(drawn_from(tmp_path, {PHOTO}, None)) == 1
    assert len(drawn_from(tmp_path, (), 0x0123456789ABCDEF)) == 1
    assert len(drawn_with(tmp_path, [MODEL])) == 1
    assert len(inputs_of(record)) == length and len(models_of(record)) == length


@pytest.mark.parametrize("phash", [1234567890123456, "a" * 64, "0123456789abcdef\n", "0123456789ABCDEF", ["0" * 16]])
def test_a_strange_hash_is_left_out_and_does_not_hide_the_drawing(tmp_path: Path, phash: object) -> None:
    strange = {"start": {"sha256": PHOTO, "phash": phash}}
    drawn = short_origin(strange)
    assert drawn == {"start": {"sha256": PHOTO}}
    kept(tmp_path, {"start": {"sha256": "c" * 64, "drawn": strange}})  # as an earlier version kept it
    assert len(drawn_from(tmp_path, {PHOTO}, 0)) == 1
