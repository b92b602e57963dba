"""Which photos count as nearly the same one."""

import io
from collections.abc import Callable

import pytest
from PIL import Image, ImageDraw, ImageEnhance

from pipeline.photos.similarity import NEAR, Likeness, hash_distance, near_groups
from tests.tiny import picture


def toy(colour: str, box: tuple[int, int, int, int], kind: str = "ellipse") -> Image.Image:
    """A toy with two eyes on plain white."""
    made = Image.new("RGB", (256, 256), "white")
    draw = ImageDraw.Draw(made)
    getattr(draw, kind)(box, colour)
    for x in (110, 146):
        draw.ellipse((x - 8, 96, x + 8, 112), "black")
    return made


TOYS = [
    toy("brown", (60, 60, 196, 220)),
    toy("pink", (108, 60, 150, 250), "rectangle"),
    toy("navy", (88, 88, 168, 168)),
]


def encoded_again(photo: Image.Image) -> Image.Image:
    content = io.BytesIO()
    photo.resize((200, 200)).save(content, "JPEG", quality=60)
    return Image.open(content).convert("RGB")


CHANGES: list[Callable[[Image.Image], Image.Image]] = [
    encoded_again,
    lambda photo: photo.crop((5, 5, photo.width - 5, photo.height - 5)),
    lambda photo: ImageEnhance.Brightness(photo).enhance(0.7),
    lambda photo: photo.convert("L").convert("RGB"),
]


def test_different_toys_on_plain_white_are_different_scenes() -> None:
    found = [Likeness.of(one) for one in TOYS]
    assert hash_distance(found[1].hash, found[2].hash) <= NEAR
    assert near_groups(found) == [0, 1, 2]


def test_what_is_plain_is_told_by_what_is_seen_on_it() -> None:
    left, right = (Likeness.of(toy("brown", (at, 60, at + 100, 200))) for at in (20, 130))
    blank = Likeness.of(Image.new("RGB", (64, 64), "white"))
    assert blank.near(blank) and left.near(left)
    assert not Likeness(left.hash, True, left.grey).near(Likeness(left.hash, True, right.grey))
    assert Likeness(left.hash, False, left.grey).near(Likeness(left.hash, False, right.grey))
    assert not blank.near(Likeness(blank.hash, True, left.grey))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("photo", [*TOYS, picture(3, 200, 160)])
def test_the_same_photo_changed_a_little_is_of_one_scene(photo: Image.Image, change: Callable) -> None:
    assert near_groups([Likeness.of(photo), Likeness.of(change(photo))]) == [0, 0]
