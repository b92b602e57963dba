"""The language of pocket's world: one composition, said in many ways."""

from dataclasses import dataclass

import numpy as np

from pocket.objects import ANIMALS

POSES = ("", "", "", "", "sitting", "standing", "walking")
DEPTH = ", shallow depth of field"
POSING = {*ANIMALS, "plush toy", "robot", "ghost", "snowman"}


@dataclass(frozen=True)
class Composition:
    """What is in one picture: the facts that a caption may tell and a judge may ask for."""

    thing: str  # object name, "plush toy", or "" for an empty scene
    details: str  # "pink rabbit", "striped brown bear" (plush toys only)
    scene: str
    style: str
    accessory: str  # "", or a name of `objects.ACCESSORIES`, or "astronaut suit"
    blurred: bool  # background out of focus


def article(noun: str) -> str:
    """'a cat', 'an elephant'."""
    return f"an {noun}" if noun[:1] in "aeiou" else f"a {noun}"


def caption(
    what: Composition,
    rng: np.random.Generator,
    styles: dict[str, tuple[str, ...]],
    scenes: dict[str, tuple[str, ...]],
) -> str:
    """One wording of a composition; parts may be left out (as people do), the object seldom."""
    scene = str(rng.choice(scenes[what.scene])) if rng.random() < 0.92 else ""
    style = str(rng.choice(styles[what.style]))
    if what.scene == "aquarium" and what.style == "photo" and rng.random() < 0.3:
        style = "an under water photo of"
    if not what.thing:
        return " ".join(part for part in (style, _place(scene) or "a place") if part)
    words = [style, _subject(what, rng)]
    if what.thing in POSING:
        words.append(str(rng.choice(POSES)))
    if what.accessory:
        tiny = "tiny " if rng.random() < 0.4 else ""
        worn = "red scarf" if what.accessory == "red scarf" else what.accessory
        words.append(f"wearing {article(tiny + worn)}")
    if scene.startswith("studio lighting"):
        return " ".join(filter(None, words)) + ", " + scene
    words.append(scene)
    return " ".join(filter(None, words)) + (DEPTH if what.blurred and rng.random() < 0.7 else "")


def _subject(what: Composition, rng: np.random.Generator) -> str:
    if what.thing != "plush toy":
        return article(what.thing)
    draw = rng.random()
    if draw < 0.25 or not what.details:
        return article("plush toy")
    if draw < 0.35:
        return article(f"{what.details.split()[-1]} plush toy")
    return article(f"{what.details} plush toy")


def _place(scene: str) -> str:
    """'on the beach' -> 'the beach' half-way: an empty scene is named by its phrase as it stands."""
    return f"an empty place {scene}" if scene else ""
