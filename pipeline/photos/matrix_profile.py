"""ICC profiles of RGB spaces that a file names only by primaries, white point and curve.

The matrix is that of SMPTE RP 177 with Bradford's adaptation to D50, the layout that of ICC.1:2022.
"""

import struct
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

D50 = (0.9642, 1.0, 0.8249)  # XYZ of ICC's profile connection space
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)  # of IEC 61966-2-1: g, a, b, c, d
LEAST_AREA = 1e-3  # of the triangle of primaries in xy, below which nobody can mean it

Chromaticities = tuple[float, ...]  # x and y of white, red, green and blue


@lru_cache(maxsize=32)
def matrix_profile(chromaticities: Chromaticities, gamma: float | None) -> bytes | None:
    """The ICC profile of an RGB space; None where the chromaticities describe none.

    Args:
        chromaticities: x and y of white, red, green and blue, eight numbers.
        gamma: the exponent from samples to light; None: the curve of sRGB.
    """
    matrix = _to_d50(np.array(chromaticities, np.float64).reshape(4, 2))
    if matrix is None:
        return None
    curve = b"para\0\0\0\0" + (
        struct.pack(">HH", 3, 0) + _fixed(SRGB_CURVE) if gamma is None else struct.pack(">HH", 0, 0) + _fixed([gamma])
    )
    text = "RGB".encode("utf-16-be")
    tags = {
        b"desc": b"mluc\0\0\0\0" + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(text), 28) + text,
        b"wtpt": b"XYZ \0\0\0\0" + _fixed(D50),
        **{name: b"XYZ \0\0\0\0" + _fixed(matrix[:, place]) for place, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))},
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content + b"\0" * (-len(content) % 4)
    header = struct.pack(">I4sI4s4s4s", start + len(body), b"\0" * 4, 0x04400000, b"mntr", b"RGB ", b"XYZ ")
    header += b"\0" * 12 + b"acsp" + b"\0" * 28 + _fixed(D50)
    return header.ljust(128, b"\0") + table + body


def _to_d50(points: np.ndarray) -> np.ndarray | None:
    """Light of red, green and blue to XYZ under D50, [3, 3], from `points` [4, 2] of white, red, green and blue."""
    white, red, green, blue = points
    sides = np.stack([green - red, blue - red])
    if not (np.isfinite(points).all() and (points[:, 1] > 0).sum() >= 3 and white[1] > 0):
        return None
    if abs(np.linalg.det(sides)) < LEAST_AREA:
        return None
    primaries = np.stack([points[1:, 0], points[1:, 1], 1 - points[1:].sum(1)])
    source = np.array([white[0], white[1], 1 - white.sum()]) / white[1]
    weights = np.linalg.solve(primaries, source)
    if weights.min() <= 0:  # white lies outside of the triangle
        return None
    scale = (BRADFORD @ np.array(D50)) / (BRADFORD @ source)
    return np.linalg.inv(BRADFORD) @ np.diag(scale) @ BRADFORD @ (primaries * weights)


def _fixed(values: Sequence[float] | np.ndarray) -> bytes:
    """Numbers as ICC's s15Fixed16."""
    return b"".join(struct.pack(">i", round(float(value) * 65536)) for value in values)
