"""Photographs of toys, in the places and through the lens of the sample photos: the world has drawings alone.

The U-Net learns from them how photos look; the identity encoder that two photos are not of one toy because both are
photos. One that learned from drawings alone found the sample photos of two toys nearly as near to each other as those
of one (cosines of 0.44 and 0.60). The toys of the sample photos are not among these.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm import tqdm

from examples.camera import Photo, take
from examples.photos import PHOTOS
from pocket import plush
from pocket.captions import article
from pocket.origin import begin, facts_of
from pocket.recipe import Recipe
from pocket.world import random_toy

SEED = 21  # of the toys; those of `pocket.identity` are the same ones
OVER = 1.5  # rays a pixel, along each side
PLACES = PHOTOS["mysks"]
NAMED = "mysks plush toy"  # in their captions


def take_photographs(recipe: Recipe, work: Path) -> None:
    """`pictures.npy` (uint8 [photos, size, size, 3]) and `captions.jsonl`, whose lines name the toy by its number.

    What is taken of a toy is kept at once, so that a killed run goes on there.
    """
    settings, folder = recipe.identity, work / "photographs"
    folder.mkdir(parents=True, exist_ok=True)
    taken_as = facts_of({"size": recipe.size, "photos": settings.photos, "toys": settings.toys + settings.held_out})
    if not begin(folder / "captions.jsonl", taken_as, any(folder.glob("*.npy"))):
        return
    toys = range(settings.toys + settings.held_out)
    missing = [toy for toy in toys if not (folder / f"{toy}.npy").exists()]
    with get_context("spawn").Pool(settings.processes) as pool:
        found = pool.imap(photographs, [(toy, settings.photos, recipe.size) for toy in missing])
        for toy, taken in zip(missing, tqdm(found, total=len(missing), desc="photographs"), strict=True):
            np.save(folder / f"{toy}.part.npy", taken)
            (folder / f"{toy}.part.npy").rename(folder / f"{toy}.npy")
    np.save(folder / "pictures.npy", np.concatenate([np.load(folder / f"{toy}.npy") for toy in toys]))
    facts = [facts for toy in toys for facts in described(toy, settings.photos)]
    (folder / "captions.part").write_text("".join(json.dumps(line) + "\n" for line in facts))
    (folder / "captions.part").rename(folder / "captions.jsonl")


def known_toy(index: int) -> tuple[plush.Toy, str]:
    """A toy of the photographs, and what captions call it.

    Numbers 2 k and 2 k + 1 are a pair of the same fabrics and proportions whose kinds differ: by its colours alone
    nobody tells the one from the other.
    """
    return random_toy(index, np.random.default_rng([SEED, index // 2]))


def photographs(job: tuple[int, int, int]) -> np.ndarray:
    """Photos of a toy, uint8 [count, size, size, 3]; `job` is the toy's number, how many photos, and their size."""
    toy, count, size = job
    body = plush.body_of(known_toy(toy)[0])
    return np.stack([np.asarray(take(photo, body, size, round(OVER * size))) for photo in _taken(toy, count)])


def described(toy: int, count: int) -> Iterator[dict[str, object]]:
    """The captions of the photos of a toy, in several wordings each."""
    words = f"{known_toy(toy)[1]} plush toy"
    for photo in _taken(toy, count):
        told = [photo.caption.replace(NAMED, article(name)) for name in (words, "plush toy")]
        yield {"toy": toy, "place": photo.name, "captions": [*told, f"a photo of {article(words)}"]}


def _taken(toy: int, count: int) -> Iterator[Photo]:
    """Photos in places by turns, in a random order, each from another side, in another light."""
    rng = np.random.default_rng([SEED, toy, 1])
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


if __name__ == "__main__":
    from pocket.stages import run

    run(take_photographs)
