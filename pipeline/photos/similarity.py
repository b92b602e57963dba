"""A perceptual hash, to find photos that show the same thing in the same way."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

NEAR = 6  # bits of 64: the same photo re-encoded or resized differs by fewer
SIDE = 16  # pixels of a likeness's grey reduction
FLAT, PLAIN = 2, 0.5  # a share of neighbours that differ by so few grey levels: the hash tells little of such a picture
ALIKE = 0.9  # correlation of two grey reductions: the same photo cropped by a twentieth, or brighter, has more


@dataclass(frozen=True)
class Likeness:
    """What tells whether a photo shows nearly the same as another: a hash, and for `plain` ones a grey reduction."""

    hash: int
    plain: bool
    grey: bytes

    @classmethod
    def of(cls, picture: Image.Image) -> "Likeness":
        small = picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
        flat = np.abs(np.diff(_reduced(picture), axis=1)) <= FLAT
        return cls(perceptual_hash(picture), bool(flat.mean() >= PLAIN), small.tobytes())

    def near(self, other: "Likeness") -> bool:
        """Whether both hashes nearly agree; and, of toys on plain white, what is seen there too."""
        if hash_distance(self.hash, other.hash) > NEAR:
            return False
        return not (self.plain or other.plain) or _correlation(self.grey, other.grey) >= ALIKE


def perceptual_hash(picture: Image.Image) -> int:
    """64-bit difference hash: is each pixel of a 9x8 grey reduction brighter than its right neighbour?"""
    grey = _reduced(picture)
    bits = (grey[:, :-1] > grey[:, 1:]).ravel()
    return int(sum(1 << index for index, bit in enumerate(bits) if bit))


def hash_distance(first: int, second: int) -> int:
    """Number of bits that differ, 0..64."""
    return (first ^ second).bit_count()


def near_groups(photos: list[Likeness]) -> list[int]:
    """A group number per photo: photos joined by a chain of near pairs share the smallest index of the chain."""
    groups = list(range(len(photos)))
    for i, first in enumerate(photos):
        for j in range(i):
            if groups[i] != groups[j] and first.near(photos[j]):
                low, high = sorted((groups[i], groups[j]))
                groups = [low if group == high else group for group in groups]
    return groups


def _reduced(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("L").resize((9, 8), Image.Resampling.BOX), np.int16)


def _correlation(first: bytes, second: bytes) -> float:
    """How far two grey reductions rise and fall together, -1..1; 1 where both are of one grey."""
    one, other = (np.frombuffer(grey, np.uint8).astype(float) for grey in (first, second))
    one, other = one - one.mean(), other - other.mean()
    if not one.any() or not other.any():
        return float(one.any() == other.any())
    return float(one @ other / np.sqrt((one @ one) * (other @ other)))
