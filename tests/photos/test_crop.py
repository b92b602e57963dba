import numpy as np
import pytest
from PIL import Image

from pipeline.photos.crop import bucket_size, crop_box, fit


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
    made = fit(Image.new("RGB", (100, 60), "black"), crop_box(100, 60, "pad"), (50, 50))
    assert made.getpixel((25, 2)) == (255, 255, 255)
    assert made.getpixel((25, 25)) == (0, 0, 0)


@pytest.mark.parametrize("photo", [(512, 512), (3000, 2000), (1000, 4000), (10000, 100), (801, 1200)])
def test_a_bucket_is_the_shape_nearest_to_the_photo_s(photo) -> None:
    width, height = bucket_size(*photo, 512, 64)
    assert width * height <= 512 * 512
    assert width % 64 == height % 64 == 0
    ratios = [
        (across, down)
        for across in range(64, 1025, 64)
        for down in range(64, 1025, 64)
        if across * down <= 512 * 512 < across * (down + 64) or (across * down <= 512 * 512 and down == 1024)
    ]
    wanted = photo[0] / photo[1]
    distance = {one: abs(np.log(one[0] / one[1] / wanted)) for one in ratios}
    assert distance[width, height] == pytest.approx(min(distance.values()))


def test_a_photo_fills_its_bucket() -> None:
    size = bucket_size(3000, 2000, 512, 64)
    box = crop_box(3000, 2000, "bucket", size)
    assert box[2] - box[0] == pytest.approx((box[3] - box[1]) * size[0] / size[1], abs=1)
    assert box[2] - box[0] == 3000 or box[3] - box[1] == 2000
    assert fit(Image.new("RGB", (3000, 2000)), box, size).size == size
