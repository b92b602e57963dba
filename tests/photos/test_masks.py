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


def shapes(kind: str) -> Image.Image:
    """A mask of the right half, as other programs write it."""
    half = Image.new("L", (80, 64), 0)
    half.paste(255, (40, 0, 80, 64))
    values = np.asarray(half)
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 255, (64, 80, 3), dtype=np.uint8))
    labels = Image.fromarray((values > 0).astype(np.uint8)).convert("P")
    labels.putpalette([0, 0, 0, 128, 0, 0])  # the first two colours of a palette of labels
    return {
        "alpha of white": Image.merge("RGBA", [*Image.new("RGB", (80, 64), "white").split(), half]),
        "cut-out": Image.merge("RGBA", [*noise.split(), half]),
        "grey with alpha": Image.merge("LA", [Image.new("L", (80, 64), 90), half]),
        "opaque alpha": half.convert("RGBA"),
        "1 bit": half.convert("1"),
        "0 and 1": Image.fromarray((values > 0).astype(np.uint8)),
        "16 bits": Image.fromarray(values.astype(np.uint16) * 257),
        "0 and 1 in 16 bits": Image.fromarray((values > 0).astype(np.uint16)),
        "0 and 255 in 16 bits": Image.fromarray(values.astype(np.uint16)),
        "palette": labels,
    }[kind]


KINDS = [
    "alpha of white", "cut-out", "grey with alpha", "opaque alpha", "1 bit", "0 and 1", "16 bits", "0 and 1 in 16 bits",
    "0 and 255 in 16 bits", "palette",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_means_what_its_maker_meant(data: Path, kind: str) -> None:
    shapes(kind).save(data / "masks" / "photo1.png")
    assert prepare(data)[1].mask
    with Image.open(data.parent / "prepared" / "masks" / "photo1.png") as made:
        columns = np.asarray(made, np.float32)[16] / 255
    assert columns[:14].max() < 0.1 and columns[18:].min() > 0.9


@pytest.mark.parametrize(
    "name",
    [
        "masks/photo1.PNG", "Masks/photo1.png", "masks/photo1.jpg.png", "masks/photo1-masklabel.png",
        "masks/PHOTO1.png", "photo1-masklabel.png", "photo1.mask.png",
    ],
)  # fmt: skip
def test_a_mask_is_found_by_the_names_of_other_trainers(data: Path, name: str) -> None:
    (data / "masks" / "photo1.png").unlink()
    (data / name).parent.mkdir(exist_ok=True)
    mask(data / name, (40, 0, 72, 64))
    assert [photo.source for photo in prepare(data) if photo.mask] == ["photo1.jpg"]


def test_a_mask_may_be_a_jpeg(data: Path) -> None:
    (data / "masks" / "photo1.png").unlink()
    mask(data / "masks" / "photo1.jpg", (40, 0, 72, 64))
    assert prepare(data)[1].mask


def test_masks_that_nobody_can_read_are_named(data: Path) -> None:
    with Image.open(data / "photo1.jpg") as photo:
        photo.save(data / "masks" / "photo1.png")
    both = shapes("opaque alpha")
    both.putalpha(Image.linear_gradient("L").resize(both.size))
    both.save(data / "masks" / "photo2.png")
    shapes("1 bit").save(data / "masks" / "photo3.png")
    shapes("1 bit").save(data / "masks" / "photo3.jpg.png")
    message = refused(data)
    assert "masks/photo1.png: is coloured" in message
    assert "masks/photo2.png: has both a transparent part and black and white paint" in message
    assert "masks/photo3.png: photo3.jpg has the mask masks/photo3.jpg.png already" in message


def test_a_mask_that_says_all_or_looks_inverted_is_worth_a_word(data: Path, capsys) -> None:
    mask(data / "masks" / "photo1.png", (0, 0, 80, 64))
    inverted = Image.new("L", (80, 64), 255)
    inverted.paste(0, (30, 20, 50, 40))
    inverted.save(data / "masks" / "photo2.png")
    prepare(data)
    printed = capsys.readouterr().out
    assert "masks/photo1.png: covers 100% of photo1.jpg" in printed
    assert "masks/photo2.png: is white along the edges and black inside; is it inverted?" in printed


def test_the_alpha_channel_of_a_photo_is_its_mask_unless_it_has_a_file(data: Path, capsys) -> None:
    shapes("cut-out").save(data / "cut.png")
    with (data / "metadata.jsonl").open("a") as file:
        file.write('{"file_name": "cut.png", "text": "a photo of mysks plush toy"}\n')
    made = {photo.source: photo for photo in prepare(data)}["cut.png"]
    assert made.mask_sha256 == made.sha256
    assert "cut.png: is transparent in places: its alpha channel is its mask" in capsys.readouterr().out
    with Image.open(data.parent / "prepared" / made.file) as picture:
        assert picture.getpixel((4, 16)) == (255, 255, 255)
    with Image.open(data.parent / "prepared" / str(made.mask)) as picture:
        assert (picture.getpixel((4, 16)), picture.getpixel((28, 16))) == (0, 255)
    mask(data / "masks" / "cut.png", (0, 0, 40, 64))
    made = {photo.source: photo for photo in prepare(data)}["cut.png"]
    assert made.mask_sha256 not in (made.sha256, None)
    with Image.open(data.parent / "prepared" / str(made.mask)) as picture:
        assert (picture.getpixel((4, 16)), picture.getpixel((28, 16))) == (255, 0)
