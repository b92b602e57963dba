"""Brushes for the scenes: gradients, soft noise and shapes on float32 pictures [size, size, 3] in 0..1."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

Color = tuple[float, float, float]


def vary(color: Color, rng: np.random.Generator, amount: float = 0.05) -> Color:
    """The color with a little random change of brightness and hue."""
    shade = rng.normal(0, amount)
    found = [float(np.clip(channel + shade + rng.normal(0, amount / 3), 0, 1)) for channel in color]
    return found[0], found[1], found[2]


def gradient(size: int, stops: Sequence[tuple[float, Color]]) -> np.ndarray:
    """Vertical blend through (height share, color) stops."""
    rows = np.linspace(0, 1, size)
    places = [at for at, _ in stops]
    column = np.stack([np.interp(rows, places, [color[i] for _, color in stops]) for i in range(3)], -1)
    return np.repeat(column[:, None].astype(np.float32), size, axis=1)


def noise(size: int, cells: int, rng: np.random.Generator, wide: int = 1) -> np.ndarray:
    """Soft noise in -1..1, [size, size]; `wide` stretches it sideways."""
    small = Image.fromarray(rng.uniform(-1, 1, (cells, max(2, cells // wide))).astype(np.float32))
    return np.asarray(small.resize((size, size), Image.Resampling.BICUBIC))


class Board:
    """A picture that shapes are drawn on, in shares of its side; `done` gives the array back."""

    def __init__(self, picture: np.ndarray):
        self.size = picture.shape[0]
        self.image = Image.fromarray((np.clip(picture, 0, 1) * 255).astype(np.uint8))
        self.pen = ImageDraw.Draw(self.image)

    def _points(self, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(x * self.size, y * self.size) for x, y in points]

    def polygon(self, points: Sequence[tuple[float, float]], color: Color) -> None:
        """A filled polygon through (x, y)."""
        self.pen.polygon(self._points(points), fill=_rgb(color))

    def box(
        self, left: float, top: float, right: float, bottom: float, color: Color, outline: Color | None = None
    ) -> None:
        """A filled rectangle."""
        (a, b), (c, d) = self._points([(left, top), (right, bottom)])
        self.pen.rectangle((a, b, max(a, c), max(b, d)), fill=_rgb(color), outline=_rgb(outline) if outline else None)

    def disc(self, x: float, y: float, radius: float, color: Color, squash: float = 1.0) -> None:
        """A filled circle, or ellipse of height `squash` times its width."""
        (a, b), (c, d) = self._points([(x - radius, y - radius * squash), (x + radius, y + radius * squash)])
        self.pen.ellipse((a, b, c, d), fill=_rgb(color))

    def line(self, points: Sequence[tuple[float, float]], color: Color, width: float) -> None:
        """A line through (x, y), `width` in shares of the side."""
        self.pen.line(self._points(points), fill=_rgb(color), width=max(1, round(width * self.size)))

    def done(self) -> np.ndarray:
        """The picture as float32 in 0..1."""
        return np.asarray(self.image, np.float32) / 255


def _rgb(color: Color) -> tuple[int, int, int]:
    red, green, blue = (int(255 * min(1.0, max(0.0, channel))) for channel in color)
    return red, green, blue
