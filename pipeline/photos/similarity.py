"""A perceptual hash, to find photos that show the same thing in the same way."""

import numpy as np
from PIL import Image

NEAR = 6  # bits of 64: the same photo re-encoded or resized differs by fewer


def perceptual_hash(picture: Image.Image) -> int:
    """64-bit difference hash: is each pixel of a 9x8 grey reduction brighter than its right neighbour?"""
    grey = np.asarray(picture.convert("L").resize((9, 8), Image.Resampling.BOX), np.int16)
    bits = (grey[:, :-1] > grey[:, 1:]).ravel()
    return int(sum(1 << index for index, bit in enumerate(bits) if bit))


def hash_distance(first: int, second: int) -> int:
    """Number of bits that differ, 0..64."""
    return (first ^ second).bit_count()


def near_groups(hashes: list[int], near: int = NEAR) -> list[int]:
    """A group number per photo: photos joined by a chain of near pairs share the smallest index of the chain."""
    groups = list(range(len(hashes)))
    for i, first in enumerate(hashes):
        for j in range(i):
            if hash_distance(first, hashes[j]) <= near and groups[i] != groups[j]:
                low, high = sorted((groups[i], groups[j]))
                groups = [low if group == high else group for group in groups]
    return groups
