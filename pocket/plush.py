"""Plush toys made of stitched-together ellipsoids, drawn by signed-distance ray marching.

A toy is a list of `Part`s; `Body` turns it into a distance field with fabric colours; `render_sprite` draws it.
Coordinates: x to the toy's left, y up, z towards its front; a toy is about 2 high and stands on y = -1.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

Color = tuple[float, float, float]
Point = tuple[float, float, float]

TOY_COLORS: dict[str, Color] = {
    "brown": (0.55, 0.34, 0.18), "grey": (0.56, 0.57, 0.6), "white": (0.93, 0.91, 0.87), "pink": (0.95, 0.6, 0.7),
    "blue": (0.3, 0.48, 0.82), "green": (0.36, 0.65, 0.35), "yellow": (0.95, 0.8, 0.3), "orange": (0.93, 0.53, 0.2),
    "purple": (0.56, 0.38, 0.72), "red": (0.82, 0.22, 0.22), "black": (0.2, 0.19, 0.21),
}  # fmt: skip
SITTING = ("bear", "bunny", "cat", "dog", "elephant", "pig", "fox", "mouse", "lion", "dinosaur", "frog", "penguin")
STANDING = ("cow", "sheep", "horse", "tiger", "hippo")  # on four legs, looking along +z
KINDS = SITTING + STANDING
BLACK: Color = (0.04, 0.035, 0.035)


@dataclass(frozen=True)
class Part:
    """An ellipsoid: centre, radii, turn in degrees about x, then y, then z; `coat` parts carry the pattern."""

    center: Point
    radii: Point
    color: Color
    turn: Point = (0, 0, 0)
    coat: bool = False
    glossy: bool = False


@dataclass(frozen=True)
class Toy:
    """One toy by construction: its kind, its main and its second fabric, and the pattern of the main one.

    `proportions` stretch the kind's shape along x, y and z; the feet stay on y = -1.
    """

    kind: str
    color: Color
    accent: Color
    pattern: str = "plain"
    proportions: Point = (1, 1, 1)


Pattern = Callable[[np.ndarray], np.ndarray]


@dataclass
class Body:
    """Distance and colour of a set of parts. Points are float32 [n, 3]."""

    parts: list[Part]
    accent: Color
    pattern: Pattern | None = None
    blend: float = 0.035
    _frames: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self._frames = np.stack([_rotation(part.turn) for part in self.parts])
        self._centers = np.float32([part.center for part in self.parts])
        self._radii = np.float32([part.radii for part in self.parts])
        self._colors = np.float32([part.color for part in self.parts])
        self._coat = np.float32([part.coat for part in self.parts])
        self._glossy = np.float32([part.glossy for part in self.parts])

    def parts_distance(self, points: np.ndarray) -> np.ndarray:
        """Approximate signed distance to every ellipsoid (Quilez), float32 [n, parts]."""
        local = np.einsum("npk,pkl->npl", points[:, None] - self._centers, self._frames)
        first = np.sqrt(np.square(local / self._radii).sum(-1)) + 1e-6
        second = np.sqrt(np.square(local / self._radii**2).sum(-1)) + 1e-6
        return (first * (first - 1) / second).astype(np.float32)

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Signed distance of the softly joined parts, float32 [n]."""
        apart = self.parts_distance(points)
        low = apart.min(axis=1)
        return low - self.blend * np.log(np.exp(-(apart - low[:, None]) / self.blend).sum(axis=1))

    def surface(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Colour [n, 3], gloss [n] and seam darkness [n] of points on the surface."""
        apart = self.parts_distance(points)
        weights = np.exp(-(apart - apart.min(axis=1, keepdims=True)) / 0.012)
        weights /= weights.sum(axis=1, keepdims=True)
        color = weights @ self._colors
        if self.pattern is not None:
            amount = ((weights @ self._coat) * self.pattern(points))[:, None]
            color = color * (1 - amount) + np.float32(self.accent) * amount
        two = np.sort(apart, axis=1)[:, :2]
        seam = np.exp(-(((two[:, 1] - two[:, 0]) / 0.02) ** 2)) * (1 - weights @ self._glossy)
        return color, weights @ self._glossy, seam

    def normals(self, points: np.ndarray, step: float = 0.004) -> np.ndarray:
        """Unit normals [n, 3] by four differences."""
        corners = np.float32([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]])
        found = sum(corner * self.distance(points + step * corner)[:, None] for corner in corners)
        return found / (np.linalg.norm(found, axis=1, keepdims=True) + 1e-9)


def _rotation(turn: Point) -> np.ndarray:
    """Rotation matrix of x, then y, then z turns in degrees, float32 [3, 3]."""
    a, b, c = np.radians(turn)
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return (z @ y @ x).astype(np.float32)


def stripes(count: float, axis: int = 1, phase: float = 0.0) -> Pattern:
    """Bands across an axis: 0..1 with soft edges, `count` a unit length."""
    return lambda points: np.clip(0.5 + 4 * np.sin(points[:, axis] * count * 2 * np.pi + phase) - 1.2, 0, 1)


def spots(points: np.ndarray) -> np.ndarray:
    """Round spots about 0.1 wide on a skewed grid."""
    turned = points @ np.float32([[0.9, 0.3, 0.1], [-0.2, 0.8, 0.4], [0.1, -0.4, 0.9]])
    cell = (turned * 2.6) % 1 - 0.5
    return np.clip((0.34 - np.linalg.norm(cell, axis=1)) * 12, 0, 1)


def body_of(toy: Toy) -> Body:
    """The body of one of the `KINDS`."""
    across = 2 if toy.kind in ("tiger", "horse") else 1
    pattern = {"plain": None, "striped": stripes(2.1, across), "spotted": spots}[toy.pattern]
    parts = [stretched(part, toy.proportions) for part in _PARTS[toy.kind](toy.color, toy.accent)]
    return Body(parts, toy.accent, pattern)


def stretched(part: Part, by: Point) -> Part:
    """A part moved and grown by factors along x, y and z, about the ground y = -1.

    Radii grow along the axes of the toy, not of the part: for a turned part that is not the exact stretch, which the
    eye does not miss.
    """
    (x, y, z), (a, b, c) = part.center, part.radii
    center = (x * by[0], (y + 1) * by[1] - 1, z * by[2])
    return replace(part, center=center, radii=(a * by[0], b * by[1], c * by[2]))


def mirrored(part: Part) -> list[Part]:
    """A part and its mirror image in the plane x = 0."""
    (x, y, z), (a, b, c) = part.center, part.turn
    return [part, Part((-x, y, z), part.radii, part.color, (a, -b, -c), part.coat, part.glossy)]


def eyes(x: float, y: float, z: float, size: float = 0.075) -> list[Part]:
    """Two glossy buttons."""
    return mirrored(Part((x, y, z), (size, size, size * 0.7), BLACK, glossy=True))


def _sitting(color: Color, accent: Color, head: float = 0.5, paws: Color | None = None) -> list[Part]:
    """Round body with belly, head, arms and legs of a sitting toy."""
    return [
        Part((0, -0.45, 0), (0.52, 0.55, 0.45), color, coat=True),
        Part((0, -0.48, 0.2), (0.34, 0.4, 0.29), accent),
        Part((0, 0.35, 0.02), (head, head * 0.9, head * 0.85), color, coat=True),
        *mirrored(Part((0.5, -0.3, 0.12), (0.15, 0.34, 0.16), color, (-30, 0, 35), coat=True)),
        *mirrored(Part((0.36, -0.82, 0.32), (0.19, 0.18, 0.36), color, (0, 22, 0), coat=True)),
        *mirrored(Part((0.46, -0.8, 0.62), (0.14, 0.15, 0.07), paws or accent, (0, 22, 0))),
    ]


def _bear(c: Color, a: Color) -> list[Part]:
    ears = mirrored(Part((0.36, 0.76, 0), (0.18, 0.18, 0.09), c)) + mirrored(Part((0.36, 0.76, 0.07), (0.11, 0.11, 0.05), a))
    muzzle = [Part((0, 0.24, 0.4), (0.2, 0.16, 0.14), a), Part((0, 0.31, 0.53), (0.08, 0.055, 0.05), BLACK, glossy=True)]
    return _sitting(c, a) + ears + muzzle + eyes(0.18, 0.45, 0.4)


def _bunny(c: Color, a: Color) -> list[Part]:
    ears = mirrored(Part((0.17, 1.05, -0.02), (0.12, 0.46, 0.08), c, (0, 0, -10))) + mirrored(
        Part((0.17, 1.05, 0.05), (0.065, 0.34, 0.04), a, (0, 0, -10))
    )
    face = [Part((0, 0.22, 0.4), (0.14, 0.11, 0.1), a), Part((0, 0.28, 0.49), (0.05, 0.035, 0.03), (0.85, 0.4, 0.45))]
    return _sitting(c, a, 0.44) + ears + face + eyes(0.17, 0.42, 0.36) + [Part((0, -0.6, -0.5), (0.16, 0.16, 0.14), a)]


def _cat(c: Color, a: Color) -> list[Part]:
    ears = mirrored(Part((0.31, 0.78, 0), (0.13, 0.26, 0.07), c, (0, 0, -22))) + mirrored(
        Part((0.31, 0.76, 0.06), (0.07, 0.17, 0.04), a, (0, 0, -22))
    )
    face = [Part((0, 0.23, 0.4), (0.15, 0.1, 0.09), a), Part((0, 0.29, 0.48), (0.045, 0.035, 0.03), (0.8, 0.4, 0.4))]
    tail = [Part((0.45, -0.65, -0.35), (0.09, 0.09, 0.34), c, (0, 60, 0), coat=True), Part((0.68, -0.4, -0.35), (0.08, 0.3, 0.08), c, coat=True)]
    return _sitting(c, a, 0.46) + ears + face + tail + eyes(0.19, 0.42, 0.37)


def _dog(c: Color, a: Color) -> list[Part]:
    ears = mirrored(Part((0.46, 0.3, 0.05), (0.11, 0.34, 0.18), a, (0, 0, 14)))
    face = [Part((0, 0.2, 0.45), (0.19, 0.15, 0.2), a), Part((0, 0.28, 0.64), (0.085, 0.06, 0.05), BLACK, glossy=True)]
    tail = [Part((0, -0.5, -0.55), (0.08, 0.3, 0.08), c, (-40, 0, 0))]
    return _sitting(c, a, 0.47) + ears + face + tail + eyes(0.17, 0.44, 0.38)


def _elephant(c: Color, a: Color) -> list[Part]:
    ears = mirrored(Part((0.58, 0.42, -0.02), (0.34, 0.38, 0.08), c, (0, -20, 0))) + mirrored(
        Part((0.58, 0.41, 0.04), (0.25, 0.28, 0.06), a, (0, -20, 0))
    )
    trunk = [
        Part((0, 0.2, 0.48), (0.14, 0.2, 0.14), c), Part((0, -0.02, 0.56), (0.11, 0.18, 0.11), c),
        Part((0, -0.18, 0.66), (0.1, 0.1, 0.16), c, (-20, 0, 0)),
    ]  # fmt: skip
    return _sitting(c, a, 0.46) + ears + trunk + eyes(0.2, 0.45, 0.37)


def _pig(c: Color, a: Color) -> list[Part]:
    ears = mirrored(Part((0.33, 0.74, 0.08), (0.15, 0.17, 0.05), a, (30, 0, -30)))
    snout = [Part((0, 0.24, 0.46), (0.2, 0.15, 0.1), a), *mirrored(Part((0.07, 0.24, 0.56), (0.035, 0.05, 0.02), BLACK))]
    return _sitting(c, a, 0.48) + ears + snout + eyes(0.2, 0.46, 0.38)


def _fox(c: Color, a: Color) -> list[Part]:
    ears = mirrored(Part((0.34, 0.82, 0), (0.15, 0.3, 0.07), c, (0, 0, -20))) + mirrored(
        Part((0.37, 0.95, 0.0), (0.08, 0.15, 0.07), BLACK, (0, 0, -20))
    )
    face = [
        *mirrored(Part((0.24, 0.2, 0.25), (0.24, 0.18, 0.18), a)), Part((0, 0.22, 0.48), (0.12, 0.1, 0.22), c),
        Part((0, 0.25, 0.7), (0.06, 0.05, 0.05), BLACK, glossy=True),
    ]  # fmt: skip
    tail = [Part((0.5, -0.6, -0.3), (0.2, 0.2, 0.45), c, (0, 60, 0)), Part((0.82, -0.6, -0.12), (0.15, 0.15, 0.2), a, (0, 60, 0))]
    return _sitting(c, a, 0.45, BLACK) + ears + face + tail + eyes(0.18, 0.43, 0.37)


def _mouse(c: Color, a: Color) -> list[Part]:
    ears = mirrored(Part((0.46, 0.74, -0.05), (0.3, 0.3, 0.07), c)) + mirrored(Part((0.46, 0.74, 0.02), (0.2, 0.2, 0.05), a))
    face = [Part((0, 0.22, 0.4), (0.15, 0.13, 0.2), c), Part((0, 0.24, 0.6), (0.07, 0.06, 0.06), (0.9, 0.45, 0.5))]
    return _sitting(c, a, 0.42) + ears + face + eyes(0.16, 0.42, 0.35)


def _lion(c: Color, a: Color) -> list[Part]:
    turns = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    mane = [Part((0.52 * float(np.cos(t)), 0.36 + 0.5 * float(np.sin(t)), -0.05), (0.2, 0.2, 0.16), a) for t in turns]
    face = [Part((0, 0.23, 0.42), (0.18, 0.13, 0.12), (0.95, 0.9, 0.8)), Part((0, 0.31, 0.52), (0.08, 0.05, 0.05), BLACK, glossy=True)]
    return _sitting(c, a, 0.44) + mane + face + eyes(0.17, 0.45, 0.37)


def _dinosaur(c: Color, a: Color) -> list[Part]:
    spikes = [Part((0, y, z), (0.05, 0.14, 0.12), a, (-turn, 0, 0)) for y, z, turn in
              ((0.92, -0.1, 0), (0.72, -0.4, 40), (0.35, -0.5, 70), (0.0, -0.46, 80), (-0.35, -0.52, 70))]  # fmt: skip
    snout = [Part((0, 0.26, 0.38), (0.3, 0.2, 0.36), c, coat=True), *mirrored(Part((0.1, 0.38, 0.7), (0.03, 0.03, 0.03), BLACK))]
    tail = [Part((0, -0.75, -0.6), (0.22, 0.2, 0.4), c, (15, 0, 0), coat=True), Part((0, -0.82, -1.0), (0.12, 0.12, 0.3), c)]
    return _sitting(c, a, 0.42) + spikes + snout + tail + eyes(0.26, 0.55, 0.3)


def _frog(c: Color, a: Color) -> list[Part]:
    bulges = mirrored(Part((0.26, 0.76, 0.1), (0.19, 0.19, 0.17), c)) + mirrored(Part((0.26, 0.78, 0.22), (0.13, 0.13, 0.07), (0.97, 0.97, 0.92)))
    mouth = [Part((0, 0.2, 0.3), (0.44, 0.2, 0.2), a), Part((0, 0.26, 0.44), (0.36, 0.018, 0.1), BLACK)]
    return _sitting(c, a, 0.48) + bulges + mouth + eyes(0.26, 0.78, 0.3, 0.07)


def _penguin(c: Color, a: Color) -> list[Part]:
    return [
        Part((0, -0.3, 0), (0.52, 0.7, 0.45), c, coat=True), Part((0, -0.35, 0.17), (0.38, 0.56, 0.32), (0.95, 0.94, 0.9)),
        Part((0, 0.48, 0), (0.42, 0.42, 0.4), c, coat=True), *mirrored(Part((0.14, 0.44, 0.25), (0.19, 0.22, 0.17), (0.95, 0.94, 0.9))),
        Part((0, 0.36, 0.46), (0.11, 0.07, 0.16), (0.96, 0.66, 0.15)), *mirrored(Part((0.22, -0.94, 0.25), (0.18, 0.07, 0.26), (0.96, 0.66, 0.15))),
        *mirrored(Part((0.55, -0.25, 0), (0.08, 0.42, 0.2), c, (0, 0, 18))), *eyes(0.15, 0.52, 0.4),
    ]  # fmt: skip


def _on_fours(color: Color, accent: Color, height: float = 0.3, paws: Color | None = None) -> list[Part]:
    """Long body with belly, neck, tail and four legs of a standing toy; legs reach `height` above the ground."""
    rise = height - 0.3
    legs = [
        part
        for z in (0.36, -0.5)
        for part in (
            *mirrored(Part((0.26, -0.72 + rise / 2, z), (0.15, 0.3 + rise / 2, 0.16), color, coat=True)),
            *mirrored(Part((0.26, -0.94, z + 0.03), (0.15, 0.08, 0.16), paws or accent)),
        )
    ]
    return [
        Part((0, -0.32 + rise, -0.1), (0.43, 0.4, 0.74), color, coat=True),
        Part((0, -0.42 + rise, -0.08), (0.38, 0.34, 0.6), accent),
        Part((0, -0.05 + rise, 0.46), (0.28, 0.34, 0.28), color, (30, 0, 0), coat=True),
        Part((0, -0.2 + rise, -0.88), (0.07, 0.07, 0.22), color, (-50, 0, 0), coat=True),
        *legs,
    ]


def _cow(c: Color, a: Color) -> list[Part]:
    horns = mirrored(Part((0.24, 0.62, 0.6), (0.06, 0.17, 0.06), (0.93, 0.88, 0.74), (0, 0, -28)))
    ears = mirrored(Part((0.43, 0.4, 0.6), (0.2, 0.09, 0.06), c, (0, 0, 14)))
    face = [
        Part((0, 0.26, 0.66), (0.34, 0.34, 0.32), c, coat=True), Part((0, 0.08, 0.9), (0.27, 0.19, 0.18), a),
        *mirrored(Part((0.1, 0.1, 1.06), (0.04, 0.05, 0.03), BLACK)),
    ]  # fmt: skip
    return _on_fours(c, a, 0.36, BLACK) + horns + ears + face + eyes(0.19, 0.4, 0.92, 0.07)


def _sheep(c: Color, a: Color) -> list[Part]:
    rng = np.random.default_rng(3)
    wool = []
    for _ in range(16):
        turn, z = rng.uniform(-2.4, 2.4), rng.uniform(-0.75, 0.45)
        center = (0.36 * float(np.sin(turn)), -0.3 + 0.34 * float(np.cos(turn)), float(z))
        wool.append(Part(center, (0.24, 0.22, 0.24), c))
    tuft = [Part((0, 0.5, 0.56), (0.25, 0.17, 0.22), c), *mirrored(Part((0.16, 0.44, 0.5), (0.16, 0.15, 0.18), c))]
    face = [Part((0, 0.22, 0.66), (0.26, 0.3, 0.3), a), Part((0, 0.1, 0.9), (0.16, 0.14, 0.14), a)]
    ears = mirrored(Part((0.36, 0.28, 0.58), (0.19, 0.08, 0.06), a, (0, 0, -18)))
    return _on_fours(c, a, 0.3, BLACK) + wool + tuft + face + ears + eyes(0.16, 0.32, 0.9, 0.07)


def _horse(c: Color, a: Color) -> list[Part]:
    mane = [Part((0, y, z), (0.09, 0.16, 0.13), a) for y, z in ((0.86, 0.6), (0.7, 0.4), (0.48, 0.28), (0.24, 0.2))]
    neck = [Part((0, 0.3, 0.46), (0.24, 0.46, 0.26), c, (22, 0, 0), coat=True)]
    face = [
        Part((0, 0.58, 0.68), (0.26, 0.28, 0.3), c, coat=True), Part((0, 0.42, 0.98), (0.18, 0.18, 0.26), c),
        Part((0, 0.36, 1.16), (0.17, 0.14, 0.1), a), *mirrored(Part((0.08, 0.38, 1.25), (0.03, 0.04, 0.02), BLACK)),
    ]  # fmt: skip
    ears = mirrored(Part((0.14, 0.9, 0.6), (0.07, 0.17, 0.06), c, (0, 0, -12)))
    tail = [Part((0, -0.1, -0.98), (0.11, 0.36, 0.12), a, (-18, 0, 0))]
    return _on_fours(c, a, 0.46, a) + mane + neck + face + ears + tail + eyes(0.2, 0.64, 0.88, 0.065)


def _tiger(c: Color, a: Color) -> list[Part]:
    head = [Part((0, 0.3, 0.62), (0.4, 0.37, 0.36), c, coat=True), *mirrored(Part((0.13, 0.17, 0.92), (0.15, 0.12, 0.1), a))]
    nose = [Part((0, 0.27, 1.0), (0.07, 0.05, 0.05), BLACK, glossy=True)]
    ears = mirrored(Part((0.29, 0.64, 0.58), (0.14, 0.14, 0.07), c)) + mirrored(Part((0.29, 0.64, 0.63), (0.08, 0.08, 0.04), a))
    tail = [Part((0, 0.05, -1.0), (0.08, 0.34, 0.08), c, (-14, 0, 0), coat=True), Part((0, 0.36, -1.05), (0.09, 0.12, 0.09), a)]
    return _on_fours(c, a, 0.3) + head + nose + ears + tail + eyes(0.17, 0.42, 0.9, 0.07)


def _hippo(c: Color, a: Color) -> list[Part]:
    head = [
        Part((0, 0.16, 0.6), (0.4, 0.36, 0.36), c, coat=True), Part((0, 0.02, 0.92), (0.38, 0.26, 0.28), c),
        Part((0, -0.1, 1.0), (0.33, 0.13, 0.24), a), *mirrored(Part((0.14, 0.16, 1.14), (0.05, 0.05, 0.04), BLACK)),
    ]  # fmt: skip
    ears = mirrored(Part((0.28, 0.5, 0.52), (0.1, 0.12, 0.06), a))
    return _on_fours(c, a, 0.24) + head + ears + eyes(0.2, 0.4, 0.82, 0.07)


_PARTS: dict[str, Callable[[Color, Color], list[Part]]] = {
    "bear": _bear, "bunny": _bunny, "cat": _cat, "dog": _dog, "elephant": _elephant, "pig": _pig, "fox": _fox,
    "mouse": _mouse, "lion": _lion, "dinosaur": _dinosaur, "frog": _frog, "penguin": _penguin, "cow": _cow,
    "sheep": _sheep, "horse": _horse, "tiger": _tiger, "hippo": _hippo,
}  # fmt: skip


def shade(body: Body, points: np.ndarray, view: np.ndarray, light: np.ndarray, warmth: Color = (1, 1, 1)) -> np.ndarray:
    """Colour of fabric at surface points [n, 3]: wrapped diffuse light, fuzz at grazing angles, woven bumps, seams."""
    color, gloss, seam = body.surface(points)
    weave = 0.05 * np.sin(points[:, :1] * 74) * np.sin(points[:, 1:2] * 74 + points[:, 2:] * 40)
    normal = body.normals(points) + weave * (1 - gloss)[:, None]
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    toward = light / np.linalg.norm(light)
    diffuse = np.clip((normal @ toward + 0.45) / 1.45, 0, 1)
    sky = 0.5 + 0.5 * normal[:, 1]
    fuzz = np.clip(1 + (normal * view).sum(1), 0, 1) ** 3
    lit = color * ((0.3 + 0.22 * sky)[:, None] + (0.68 * diffuse)[:, None] * np.float32(warmth))
    lit = lit * (1 - 0.3 * seam)[:, None] + (0.2 * fuzz * (1 - gloss))[:, None] * (0.4 + 0.6 * color)
    half = toward - view
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    shine = gloss * np.clip((normal * half).sum(1), 0, 1) ** 40
    return np.clip(lit + shine[:, None], 0, 1)


def render_sprite(toy: Toy, yaw: float, pitch: float, light: np.ndarray, size: int = 128) -> np.ndarray:
    """A toy cut out from its background: uint8 RGBA [size, size, 4], seen from `yaw` and `pitch` (radians)."""
    return render_body(body_of(toy), yaw, pitch, light, size)


def render_body(body: Body, yaw: float, pitch: float, light: np.ndarray, size: int) -> np.ndarray:
    """As `render_sprite`, for any body that fits into a sphere of radius 1.65 about the origin."""
    extent, reach = 1.6, 2.6
    across = (np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1
    x, y = np.meshgrid(across * extent, -across * extent)
    turn = _rotation((0, np.degrees(yaw), 0)) @ _rotation((np.degrees(pitch), 0, 0))
    start = (np.stack([x.ravel(), y.ravel(), np.full(x.size, reach)], 1) @ turn.T).astype(np.float32)
    view = (np.float32([[0, 0, -1]]) @ turn.T).astype(np.float32)
    far = np.zeros(len(start), np.float32)
    nearest = np.full(len(start), 9.0, np.float32)
    alive = np.arange(len(start))
    for _ in range(40):
        gap = body.distance(start[alive] + far[alive, None] * view)
        nearest[alive] = np.minimum(nearest[alive], gap)
        far[alive] += gap * 0.9
        alive = alive[(gap > 0.004) & (far[alive] < 2 * reach)]
        if len(alive) == 0:
            break
    pixel = 2 * extent / size
    alpha = np.clip(1 - nearest / pixel, 0, 1)
    hit = np.flatnonzero(alpha > 0)
    picture = np.zeros((len(start), 4), np.float32)
    picture[hit, :3] = shade(body, start[hit] + far[hit, None] * view, view, light @ turn.T * 0.5 + light * 0.5)
    picture[:, 3] = alpha
    return (picture.reshape(size, size, 4) * 255 + 0.5).astype(np.uint8)
