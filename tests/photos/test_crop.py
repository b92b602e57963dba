import pytest
from PIL import Image

from pipeline.photos.crop import crop_box, square


@pytest.mark.parametrize(
    ("mode", "box"),
    [("center", (20, 0, 80, 60)), ("top", (20, 0, 80, 60)), ("pad", (0, -20, 100, 80))],
)
def test_wide_pictures(mode, box) -> None:
    assert crop_box(100, 60, mode) == box


@pytest.mark.parametrize(
    ("mode", "box"),
    [("center", (0, 20, 60, 80)), ("top", (0, 0, 60, 60)), ("pad", (-20, 0, 80, 100))],
)
def test_tall_pictures(mode, box) -> None:
    assert crop_box(60, 100, mode) == box


def test_padding_is_white_and_keeps_the_whole_picture() -> None:
    made = square(Image.new("RGB", (100, 60), "black"), crop_box(100, 60, "pad"), 50)
    assert made.getpixel((25, 2)) == (255, 255, 255)
    assert made.getpixel((25, 25)) == (0, 0, 0)
