"""From any shape to the base's size: a square, or the shape nearest to the photo's own."""

import math
from typing import Literal

from PIL import Image

Crop = Literal["center", "top", "pad", "bucket"]
Size = tuple[int, int]
Box = tuple[int, int, int, int]  # left, top, right, bottom
LONGEST = 2.0  # a bucket is at most this many times as long as the square's side


def bucket_size(width: int, height: int, side: int, multiple: int) -> Size:
    """The (width, height) in multiples of `multiple`, of at most `side` x `side` pixels in all, whose aspect ratio is
    nearest to that of the photo.
    """
    found = []
    for across in range(multiple, int(side * LONGEST) + 1, multiple):
        down = min(side * side // across, int(side * LONGEST)) // multiple * multiple
        if down:
            found.append((across, down))
    wanted = math.log(width / height)
    return min(found, key=lambda size: (abs(math.log(size[0] / size[1]) - wanted), -size[0] * size[1]))


def crop_box(width: int, height: int, mode: Crop, target: Size = (1, 1)) -> tuple[int, int, int, int]:
    """What is kept (left, top, right, bottom), of the shape of `target`; for 'pad' it may reach beyond the picture."""
    across, down = target
    wide = width * down > height * across  # wider than what is wanted
    if wide == (mode == "pad"):
        box_width, box_height = width, round(width * down / across)
    else:
        box_width, box_height = round(height * across / down), height
    left = (width - box_width) // 2
    top = 0 if mode == "top" else (height - box_height) // 2
    return left, top, left + box_width, top + box_height


def fit(picture: Image.Image, box: tuple[int, int, int, int], size: Size) -> Image.Image:
    """Cut `box` out and resize it to `size` with Lanczos; beyond the edges is white (in a mask, black)."""
    left, top, right, bottom = box
    if left < 0 or top < 0 or right > picture.width or bottom > picture.height:
        beyond = 0 if picture.mode == "L" else "white"
        canvas = Image.new(picture.mode, (right - left, bottom - top), beyond)
        canvas.paste(picture, (-left, -top))
    else:
        canvas = picture.crop(box)
    return canvas.resize(size, Image.Resampling.LANCZOS)
