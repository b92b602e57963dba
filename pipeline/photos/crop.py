"""From any shape to a square of the base's size."""

from typing import Literal

from PIL import Image

Crop = Literal["center", "top", "pad"]


def crop_box(width: int, height: int, mode: Crop) -> tuple[int, int, int, int]:
    """The square (left, top, right, bottom) that is kept; for 'pad' it may reach beyond the picture."""
    if mode == "pad":
        side = max(width, height)
        left, top = (width - side) // 2, (height - side) // 2
    else:
        side = min(width, height)
        left = (width - side) // 2
        top = 0 if mode == "top" else (height - side) // 2
    return left, top, left + side, top + side


def square(picture: Image.Image, box: tuple[int, int, int, int], size: int) -> Image.Image:
    """Cut `box` out and resize it to `size` x `size` with Lanczos; beyond the edges is white (in a mask, black)."""
    left, top, right, bottom = box
    if left < 0 or top < 0 or right > picture.width or bottom > picture.height:
        beyond = 0 if picture.mode == "L" else "white"
        canvas = Image.new(picture.mode, (right - left, bottom - top), beyond)
        canvas.paste(picture, (-left, -top))
    else:
        canvas = picture.crop(box)
    return canvas.resize((size, size), Image.Resampling.LANCZOS)
