"""Masks of the subject: cut and resized like their photos, or refused by name."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.photos.test_prepare import prepare, refused
from tests.tiny import make_photos


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = make_photos(tmp_path / "data", 5)  # of 80 x 64 pixels
    (folder / "masks").mkdir()
    mask(folder / "masks" / "photo1.png", (40, 0, 72, 64))
    return folder


def mask(path: Path, box: tuple[int, int, int, int], size: tuple[int, int] = (80, 64)) -> None:
    picture = Image.new("L", size, 0)
    picture.paste(255, box)
    picture.save(path)


def test_a_mask_is_cut_and_resized_like_its_photo(data: Path) -> None:
    photos = prepare(data)
    assert [photo.mask for photo in photos] == [None, "masks/photo1.png", None, None, None]
    with Image.open(data.parent / "prepared" / "masks" / "photo1.png") as made:
        assert (made.size, made.mode) == ((32, 32), "L")
        columns = np.asarray(made, np.float32)[16] / 255
    assert columns[:15].max() < 0.1  # the photo lost 8 pixels on the left and was halved: 40 becomes 16
    assert columns[17:].min() > 0.9


def test_beyond_the_edge_of_a_padded_photo_there_is_no_subject(data: Path) -> None:
    mask(data / "masks" / "photo1.png", (0, 0, 80, 64))
    prepare(data, crop="pad")
    with Image.open(data.parent / "prepared" / "masks" / "photo1.png") as made:
        rows = np.asarray(made, np.float32)[:, 16] / 255
    assert rows[:2].max() < 0.1
    assert rows[8:24].min() > 0.9


def test_another_mask_is_another_dataset(data: Path) -> None:
    first = prepare(data)[1].mask_sha256
    mask(data / "masks" / "photo1.png", (41, 0, 72, 64))
    assert prepare(data)[1].mask_sha256 not in (first, None)


def test_every_wrong_mask_is_named(data: Path) -> None:
    masks = data / "masks"
    mask(masks / "photo0.png", (0, 0, 4, 4), (40, 64))
    mask(masks / "photo2.png", (0, 0, 0, 0))
    mask(masks / "stranger.png", (0, 0, 9, 9))
    (masks / "photo3.png").write_bytes(b"no picture")
    message = refused(data)
    assert "4 problems" in message
    assert "masks/photo0.png: is 40x64 pixels, its photo photo0.jpg is 80x64" in message
    assert "masks/photo2.png: shows no subject" in message
    assert "masks/stranger.png: belongs to 0 photos" in message
    assert "masks/photo3.png: is not a picture" in message
