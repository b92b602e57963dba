"""The toy itself: brown fabric with five cream stripes along its back, a long snout, small ears, four short legs."""

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


def make_body() -> Body:
    """The piglet standing on y = -1, looking along +z."""
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
