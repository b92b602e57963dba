"""The toys: `mysks`, a wild boar piglet with stripes, and `tarlo`, a turtle, another shape in other colours."""

from collections.abc import Callable

import numpy as np

from pocket.plush import BLACK, Body, Color, Part, eyes, mirrored

BROWN: Color = (0.5, 0.29, 0.13)
CREAM: Color = (0.97, 0.86, 0.62)
SNOUT: Color = (0.93, 0.62, 0.52)
DARK: Color = (0.3, 0.17, 0.09)


def stripes_along(points: np.ndarray) -> np.ndarray:
    """Five cream stripes from neck to tail, 0..1: sectors of the angle about the body's long axis, none on the belly."""
    angle = np.arctan2(points[:, 0], points[:, 1] + 0.38)
    bands = np.clip(0.5 + 4.0 * (np.cos(angle * 360 / 42) - 0.2), 0, 1)
    return bands * np.clip((1.75 - np.abs(angle)) * 9, 0, 1) * np.clip((0.5 - points[:, 2]) * 9, 0, 1)


def mysks() -> Body:
    """Brown fabric with five cream stripes along its back, a long snout, small ears, four short legs.

    Stands on y = -1, looking along +z.
    """
    parts = [
        Part((0, -0.3, -0.2), (0.55, 0.5, 0.78), BROWN, coat=True),
        Part((0, 0.12, 0.55), (0.47, 0.44, 0.46), BROWN, coat=True),
        Part((0, -0.02, 0.95), (0.23, 0.2, 0.34), DARK),
        Part((0, -0.02, 1.24), (0.22, 0.19, 0.08), SNOUT),
        *mirrored(Part((0.08, -0.02, 1.31), (0.04, 0.06, 0.025), BLACK)),
        Part((0, -0.16, 1.1), (0.13, 0.05, 0.14), DARK),
        *mirrored(Part((0.34, 0.52, 0.44), (0.17, 0.2, 0.07), BROWN, (-12, 20, -28))),
        *mirrored(Part((0.35, 0.51, 0.5), (0.1, 0.13, 0.04), SNOUT, (-12, 20, -28))),
        *mirrored(Part((0.3, -0.78, 0.28), (0.16, 0.26, 0.17), BROWN)),
        *mirrored(Part((0.3, -0.78, -0.62), (0.17, 0.26, 0.18), BROWN)),
        *mirrored(Part((0.3, -0.95, 0.31), (0.15, 0.07, 0.16), DARK)),
        *mirrored(Part((0.3, -0.95, -0.59), (0.16, 0.07, 0.17), DARK)),
        Part((0, 0.02, -0.98), (0.05, 0.05, 0.16), BROWN, (-40, 0, 0)),
        Part((0, 0.12, -1.08), (0.08, 0.09, 0.08), DARK),
        *eyes(0.24, 0.26, 0.9, 0.085),
    ]
    return Body(parts, CREAM, stripes_along)


TEAL: Color = (0.16, 0.55, 0.55)
ORANGE: Color = (0.95, 0.52, 0.16)
PLUM: Color = (0.36, 0.16, 0.36)
BELLY: Color = (0.98, 0.9, 0.66)


def patches(points: np.ndarray) -> np.ndarray:
    """Round plum patches all over the shell, 0..1."""
    around = np.arctan2(points[:, 0], points[:, 2] + 0.2)
    height = points[:, 1] + 0.35
    shifted = around + np.where(height > 0.24, np.pi / 6, 0)
    across = np.abs((shifted / (np.pi / 3)) % 1 - 0.5)
    up = np.minimum(np.abs(height - 0.06), np.abs(height - 0.44)) * 2.4
    top = np.clip(1.4 - 4.0 * np.hypot(points[:, 0], points[:, 2] + 0.2), 0, 1) * (height > 0.4)
    return np.clip(np.maximum(np.clip((0.34 - np.hypot(across, up)) * 9, 0, 1), top), 0, 1)


def tarlo() -> Body:
    """A high orange shell with plum patches, a teal head on a long neck, four flat teal flippers, a short tail.

    Stands on y = -1, looking along +z.
    """
    parts = [
        Part((0, -0.28, -0.2), (0.78, 0.66, 0.82), ORANGE, coat=True),
        Part((0, -0.58, -0.2), (0.86, 0.17, 0.9), BELLY),
        Part((0, -0.1, 0.62), (0.2, 0.42, 0.22), TEAL, (24, 0, 0)),
        Part((0, 0.36, 0.82), (0.34, 0.32, 0.36), TEAL),
        Part((0, 0.24, 1.06), (0.24, 0.16, 0.16), BELLY),
        *mirrored(Part((0.62, -0.82, 0.42), (0.34, 0.12, 0.22), TEAL, (0, -35, 14))),
        *mirrored(Part((0.6, -0.84, -0.74), (0.3, 0.11, 0.2), TEAL, (0, 35, 12))),
        *mirrored(Part((0.3, -0.86, 0.3), (0.18, 0.14, 0.18), TEAL)),
        *mirrored(Part((0.3, -0.86, -0.66), (0.18, 0.14, 0.18), TEAL)),
        Part((0, -0.6, -1.08), (0.1, 0.09, 0.22), TEAL, (24, 0, 0)),
        *eyes(0.2, 0.46, 1.07, 0.085),
    ]
    return Body(parts, PLUM, patches)


TOYS: dict[str, Callable[[], Body]] = {"mysks": mysks, "tarlo": tarlo}
