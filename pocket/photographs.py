"""The toys that the identity encoder learns, photographed in the places and through the lens of the sample photos.

An encoder that learned from drawings alone found the sample photos of two toys nearly as near to each other as those of
one (cosines of 0.44 and 0.60): it saw that both are photos. The toys of the sample photos are not among these.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from examples.camera import Photo, take
from examples.photos import PHOTOS
from pocket import plush
from pocket.world import random_toy

OVER = 1.5  # rays a pixel, along each side
PLACES = PHOTOS["mysks"]


def photographs(job: tuple[int, int, int, int]) -> list[np.ndarray]:
    """Photos of a toy: uint8 [size, size, 3] each.

    Args:
        job: the toy's number, the seed of its kind (as in `pocket.identity.views`), how many photos, and their size.
    """
    index, seed, count, size = job
    toy, _ = random_toy(index, np.random.default_rng([seed, index]))
    body, rng = plush.body_of(toy), np.random.default_rng([seed, index, 1])
    return [np.asarray(take(photo, body, size, round(OVER * size))) for photo in _taken(rng, count)]


def _taken(rng: np.random.Generator, count: int) -> Iterator[Photo]:
    """Photos in places by turns, in a random order, each from another side, in another light."""
    order = [place for _ in range(-(-count // len(PLACES))) for place in rng.permutation(len(PLACES))]
    for place in order[:count]:
        photo = PLACES[place]
        yield replace(
            photo,
            turn=float(rng.uniform(-100, 100)),
            pitch=photo.pitch + float(rng.uniform(-5, 5)),
            distance=photo.distance * float(rng.uniform(0.92, 1.15)),
            light=(float(rng.uniform(-0.9, 0.9)), float(rng.uniform(0.6, 1.0)), float(rng.uniform(0.2, 0.9))),
            warmth=tuple(float(factor * rng.uniform(0.93, 1.07)) for factor in photo.warmth),  # type: ignore[arg-type]
        )
