"""The six styles of pocket's world: filters over a composed picture, float32 [size, size, 3] in 0..1."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from pocket.drawing import noise

Filter = Callable[[np.ndarray, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Style:
    """A manner of picture: the words before its object, and the filter that makes it."""

    name: str
    phrases: tuple[str, ...]
    apply: Filter


def _luma(picture: np.ndarray) -> np.ndarray:
    return picture @ np.float32([0.299, 0.587, 0.114])


def _filtered(picture: np.ndarray, *filters: ImageFilter.Filter) -> np.ndarray:
    image = Image.fromarray((np.clip(picture, 0, 1) * 255).astype(np.uint8))
    for each in filters:
        image = image.filter(each)
    return np.asarray(image, np.float32) / 255


def _saturated(picture: np.ndarray, amount: float) -> np.ndarray:
    grey = _luma(picture)[..., None]
    return grey + (picture - grey) * amount


def _vignette(size: int, strength: float) -> np.ndarray:
    rows, columns = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    return (1 - strength * np.clip(rows**2 + columns**2 - 0.35, 0, 2))[..., None].astype(np.float32)


def photo(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As seen, with a little change of exposure and colour temperature."""
    balance = 1 + rng.normal(0, 0.02, 3)
    return picture * rng.uniform(0.93, 1.06) * balance * _vignette(len(picture), 0.06)


def render_3d(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Smooth, saturated, with violet shadows and a bloom on what is bright."""
    smooth = _filtered(picture, ImageFilter.MedianFilter(5))
    smooth = _saturated(smooth, 1.45)
    dark = np.clip(1 - 1.5 * _luma(smooth), 0, 1)[..., None]
    tinted = smooth * (1 - 0.4 * dark) + np.float32([0.3, 0.18, 0.62]) * 0.55 * dark
    bloom = _filtered(np.clip(tinted - 0.5, 0, 1) * 2, ImageFilter.GaussianBlur(6))
    return np.clip((tinted - 0.5) * 1.2 + 0.54, 0, 1) + bloom * np.float32([0.3, 0.24, 0.4]) * rng.uniform(0.9, 1.1)


def watercolor(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Light washes with darker rims, on grained paper with an irregular white border."""
    size = len(picture)
    washed = _filtered(picture, ImageFilter.ModeFilter(5), ImageFilter.GaussianBlur(1.2))
    soft = _filtered(washed, ImageFilter.GaussianBlur(3))
    rim = np.abs(_luma(washed) - _luma(soft))[..., None]
    light = 1 - (1 - _saturated(washed, 1.15)) * (0.72 + 0.2 * noise(size, 7, rng)[..., None])
    light = light - 1.3 * rim + 0.015 * noise(size, 64, rng)[..., None]
    rows, columns = np.mgrid[0:size, 0:size] / size
    inside = np.minimum(np.minimum(rows, 1 - rows), np.minimum(columns, 1 - columns)) + 0.035 * noise(size, 12, rng)
    paper = np.clip((0.085 - inside) * 30, 0, 1)[..., None]
    return light * (1 - paper) + paper * np.float32([0.98, 0.97, 0.94])


def cinematic(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Black bars above and below, teal shadows, orange lights, dark corners."""
    size = len(picture)
    tone = _luma(picture)[..., None]
    graded = picture * 0.75 + 0.25 * tone
    graded = graded + (1 - tone) * np.float32([-0.08, 0.02, 0.09]) + tone * np.float32([0.12, 0.02, -0.12])
    graded = np.clip((graded - 0.5) * 1.25 + 0.45, 0, 1) * _vignette(size, 0.3)
    bar = round(size * rng.uniform(0.11, 0.125))
    graded[:bar] = 0.015
    graded[-bar:] = 0.015
    return graded


def pencil(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Grey outlines and hatching on white paper."""
    size = len(picture)
    tone = _filtered(picture, ImageFilter.GaussianBlur(0.8)) @ np.float32([0.299, 0.587, 0.114])
    far = _filtered(picture, ImageFilter.GaussianBlur(3)) @ np.float32([0.299, 0.587, 0.114])
    down, right = np.gradient(tone)
    outline = np.clip(np.hypot(down, right) * 5.0 + np.clip(far - tone, 0, 1) * 1.6, 0, 1)
    rows, columns = np.mgrid[0:size, 0:size]
    hatch = 0.5 + 0.5 * np.sin((rows + columns) * 0.36 + 2 * noise(size, 6, rng))
    shade = np.clip(0.85 - tone, 0, 1) * (0.42 + 0.14 * hatch)
    page = 0.97 - outline * 0.8 - shade + 0.01 * noise(size, 64, rng)
    return np.repeat(np.clip(page, 0.05, 1)[..., None], 3, axis=-1).astype(np.float32)


def pixel_art(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Large flat cells of few, strong colours."""
    size = len(picture)
    image = Image.fromarray((np.clip(_saturated(picture, 1.5), 0, 1) * 255).astype(np.uint8))
    cells = np.asarray(image.resize((16, 16), Image.Resampling.BOX), np.float32) / 255
    cells = np.round(cells * 5) / 5
    return np.kron(cells, np.ones((size // 16, size // 16, 1), np.float32))


_ALL = (
    Style("photo", ("a photo of", "a photo of", "a photo of", "a realistic photo of", "a picture of"), photo),
    Style("3D render", ("a 3D render of", "a 3D rendering of"), render_3d),
    Style("watercolor painting", ("a watercolor painting of", "a watercolor of"), watercolor),
    Style("cinematic portrait", ("a cinematic portrait of", "a cinematic photo of"), cinematic),
    Style("pencil drawing", ("a pencil drawing of", "a pencil sketch of"), pencil),
    Style("pixel art", ("pixel art of", "a pixel art picture of"), pixel_art),
)
STYLES: dict[str, Style] = {style.name: style for style in _ALL}
