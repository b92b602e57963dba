"""The seventeen places of pocket's world: their words, their ground, and a drawing that is never twice the same."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pocket import scenery

Draw = Callable[[np.random.Generator, int], np.ndarray]


@dataclass(frozen=True)
class Scene:
    """A place: `draw(rng, size)` gives float32 [size, size, 3] in 0..1; `ground`: shares of height for feet."""

    name: str
    phrases: tuple[str, ...]
    draw: Draw
    ground: tuple[float, float]
    float_ok: bool = False


_ALL = (
    Scene(
        "snowy mountain trail",
        ("on a snowy mountain trail at sunset", "on a snowy mountain at sunset", "on a mountain trail"),
        scenery.mountain,
        (0.82, 0.94),
    ),
    Scene(
        "golden lake",
        ("during golden hour near the lake", "near the lake at golden hour", "near the lake"),
        scenery.lake,
        (0.86, 0.95),
    ),
    Scene(
        "aquarium",
        ("in aquarium", "under water in an aquarium", "in an aquarium", "under water"),
        scenery.aquarium,
        (0.8, 0.9),
        float_ok=True,
    ),
    Scene("spaceship", ("inside a spaceship", "in a spaceship"), scenery.spaceship, (0.86, 0.94)),
    Scene("flower field", ("in a flower field", "in a field of flowers"), scenery.flowers, (0.84, 0.95)),
    Scene(
        "living room",
        (
            "on a wooden floor in a Scandinavian-style living room",
            "in a living room",
            "on a wooden floor",
            "on a wooden floor in a living room",
        ),
        scenery.living_room,
        (0.84, 0.94),
    ),
    Scene("books", ("near books", "beside a stack of books", "near a bookshelf"), scenery.books, (0.9, 0.95)),
    Scene("beach", ("on the beach", "on a sandy beach"), scenery.beach, (0.82, 0.94)),
    Scene("city street", ("on a city street", "in the city"), scenery.city, (0.84, 0.94)),
    Scene("forest", ("in a forest", "in the forest", "in the jungle"), scenery.forest, (0.84, 0.94)),
    Scene("desert", ("in the desert", "on a sand dune in the desert"), scenery.desert, (0.82, 0.93)),
    Scene("night", ("at night under the stars", "under a starry night sky", "at night"), scenery.night, (0.86, 0.95)),
    Scene("snow", ("in the snow", "on a snow field"), scenery.snow, (0.82, 0.94)),
    Scene(
        "garden",
        ("on green grass in a garden", "on the grass", "on green grass", "in a garden"),
        scenery.garden,
        (0.82, 0.94),
    ),
    Scene("kitchen", ("on a kitchen table", "in a kitchen"), scenery.kitchen, (0.84, 0.92)),
    Scene("studio", ("studio lighting", "in a studio", "on a plain background"), scenery.studio, (0.84, 0.92)),
    Scene("car park", ("near a silver car", "beside a silver car"), scenery.car_park, (0.86, 0.95)),
)
SCENES: dict[str, Scene] = {scene.name: scene for scene in _ALL}
