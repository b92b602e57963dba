"""How alike two photos are: the same pixels, or the same view at a glance."""

import hashlib

import numpy as np
from PIL import Image

SIDE = 32  # the picture the hash looks at
KEPT = 8  # lowest frequencies in each direction
NEAR = 10  # of 64 bits: at most so many differ between photos that are called alike


def pixel_digest(image: Image.Image) -> str:
    """sha256 over size and pixels: equal for the same picture in two files, whatever the file format."""
    found = hashlib.sha256(f"{image.mode} {image.width}x{image.height}\n".encode())
    found.update(image.tobytes())
    return found.hexdigest()


def perceptual_hash(image: Image.Image) -> int:
    """64 bits that stay nearly the same when a photo is resized, recompressed or slightly lightened.

    The signs of the 8x8 lowest DCT-II coefficients of the 32x32 grey picture, against their median without
    the mean brightness (pHash: Zauner, "Implementation and benchmarking of perceptual image hash functions").
    """
    grey = np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS), dtype=np.float64)
    basis = _dct_basis()
    low = (basis @ grey @ basis.T).flatten()
    bits = low > np.median(low[1:])
    return int("".join("1" if bit else "0" for bit in bits), 2)


def distance(first: int, second: int) -> int:
    """Bits in which two hashes differ, 0 to 64."""
    return (first ^ second).bit_count()


def alike(first: int, second: int) -> bool:
    """Whether two hashes are of near-duplicates."""
    return distance(first, second) <= NEAR


def _dct_basis() -> np.ndarray:
    """The first rows of the DCT-II matrix, [KEPT, SIDE]."""
    frequency = np.arange(KEPT)[:, None]
    place = np.arange(SIDE)[None, :] + 0.5
    return np.cos(np.pi / SIDE * frequency * place)
