"""What stands around the toy: boxes, balls and cylinders as distance fields, and grounds as textures."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Color = tuple[float, float, float]
Texture = Callable[[np.ndarray], np.ndarray]  # points [n, 3] -> colours [n, 3]


def plain(color: Color) -> Texture:
    """One colour."""
    return lambda points: np.broadcast_to(np.float32(color), points.shape).copy()


def hashed(cells: np.ndarray) -> np.ndarray:
    """A pseudo-random number in 0..1 for each row of integer-valued cells [n, k]."""
    mixed = (cells * np.float64([127.1, 311.7, 74.7][: cells.shape[1]])).sum(axis=1)
    return (np.abs(np.sin(mixed) * 43758.5453) % 1).astype(np.float32)


def cloudy(points: np.ndarray, scale: float) -> np.ndarray:
    """Smooth value noise over x and z in 0..1, [n], three octaves."""
    total = np.zeros(len(points), np.float32)
    for octave in range(3):
        place = points[:, [0, 2]].astype(np.float64) * scale * 2**octave + 17.3 * octave
        low = np.floor(place)
        part = place - low
        part = part * part * (3 - 2 * part)
        a, b = hashed(low), hashed(low + [1, 0])
        c, d = hashed(low + [0, 1]), hashed(low + [1, 1])
        total += (
            (a * (1 - part[:, 0]) + b * part[:, 0]) * (1 - part[:, 1])
            + (c * (1 - part[:, 0]) + d * part[:, 0]) * part[:, 1]
        ) / 2 ** (octave + 1)
    return total / 0.875


def rough(low: Color, high: Color, scale: float) -> Texture:
    """Cloudy blend of two colours: grass, sand, snow, asphalt, cloth."""
    return lambda points: np.float32(low) + (np.float32(high) - np.float32(low)) * cloudy(points, scale)[:, None]


def planks(color: Color, width: float, grain: float = 0.18) -> Texture:
    """Wooden boards along z."""

    def paint(points: np.ndarray) -> np.ndarray:
        board = np.floor(points[:, 0] / width)
        shade = 0.82 + 0.3 * hashed(np.stack([board, board], 1))
        fibre = cloudy(np.stack([points[:, 0] * 9, points[:, 1], points[:, 2] * 0.7], 1), 1.0) - 0.5
        gap = np.abs(points[:, 0] / width - board - 0.5) > 0.485
        return np.float32(color) * (shade + grain * fibre)[:, None] * np.where(gap, 0.45, 1)[:, None]

    return paint


def checks(first: Color, second: Color, width: float) -> Texture:
    """Checked cloth or tiles."""

    def paint(points: np.ndarray) -> np.ndarray:
        odd = (np.floor(points[:, 0] / width) + np.floor(points[:, 2] / width)) % 2
        return np.float32(first) + (np.float32(second) - np.float32(first)) * odd[:, None]

    return paint


def stones(color: Color, width: float) -> Texture:
    """Flat stones with dark joints, every second row shifted."""

    def paint(points: np.ndarray) -> np.ndarray:
        row = np.floor(points[:, 2] / width)
        x = points[:, 0] / width + 0.5 * (row % 2)
        column = np.floor(x)
        shade = 0.75 + 0.4 * hashed(np.stack([row, column], 1)) + 0.2 * (cloudy(points, 4) - 0.5)
        joint = np.minimum(0.5 - np.abs(x - column - 0.5), 0.5 - np.abs(points[:, 2] / width - row - 0.5)) < 0.04
        return np.float32(color) * (shade * np.where(joint, 0.5, 1))[:, None]

    return paint


def leaves(points: np.ndarray) -> np.ndarray:
    """Fallen leaves in yellow, orange and red, lying over each other."""
    turned = points[:, [0, 2]] @ np.array([[0.8, 0.6], [-0.6, 0.8]])
    cell = np.floor(turned / 0.24)
    pick = hashed(cell)
    palette = np.float32([[0.8, 0.45, 0.1], [0.85, 0.62, 0.15], [0.65, 0.25, 0.1], [0.5, 0.33, 0.14]])
    inside = turned / 0.24 - cell - 0.5
    edge = np.clip(1.15 - np.hypot(inside[:, 0] * (1 + pick), inside[:, 1]) * 1.3, 0.45, 1)
    return palette[(pick * 3.99).astype(int)] * (edge * (0.8 + 0.4 * hashed(cell + 5)))[:, None]


@dataclass(frozen=True)
class Solid:
    """A prop: `shape` is 'box', 'ball' or 'cylinder' (upright); `size` its half sides or radii."""

    shape: str
    center: tuple[float, float, float]
    size: tuple[float, float, float]
    texture: Texture
    rounded: float = 0.04
    gloss: float = 0.0

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Signed distance, float32 [n]."""
        local = points - np.float32(self.center)
        size = np.float32(self.size)
        if self.shape == "ball":
            first = np.linalg.norm(local / size, axis=1)
            second = np.linalg.norm(local / size**2, axis=1) + 1e-6
            return first * (first - 1) / second
        if self.shape == "cylinder":
            around = np.hypot(local[:, 0], local[:, 2]) - size[0] + self.rounded
            along = np.abs(local[:, 1]) - size[1] + self.rounded
            both = np.stack([around, along], 1)
        else:
            both = np.abs(local) - size + self.rounded
        outside = np.linalg.norm(np.maximum(both, 0), axis=1)
        return outside + np.minimum(both.max(axis=1), 0) - self.rounded
