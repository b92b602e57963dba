"""Data augmentation by a fixed set of views of each photo (cropped, recoloured, mirrored), each encoded only once."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image, ImageEnhance

from pipeline.errors import counted
from pipeline.params import Augment
from pipeline.training.randomness import generator_at

Box = tuple[float, float, float, float]
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
SIDES = {"left": "right", "right": "left"}
SIDE = r"\b(?ai:left|right)(?=(?ai:-?(?:hand|facing|side|most|wards?))*(?![\w-]))"
# Where the words mean no side: "right now", "right in front of a car", "all right"; but "on the right in a box" is one.
ALL = r"(?ai:\ball)\s+$"
NO_SIDE_AFTER = {
    "left": r"\s+(?ai:over)\b",
    "right": r"\s+(?ai:now|away|in|on|at|behind|beside|next to|under|over|above|below|between|inside|outside)\b",
}
NAMES_A_SIDE = (
    r"(?ai:\b(?:the|its|his|her|their|my|our|your|far|top|bottom|upper|lower|to|from"
    r"|facing|faces|turning|turned|turns|pointing|points|leaning|leans))[\s-]+$"
)


@dataclass(frozen=True)
class View:
    """One augmentation of a photo: `box` is (left, top, right, bottom) in shares of the picture, `colour` the factors
    of brightness, contrast and saturation.
    """

    box: Box = WHOLE
    colour: tuple[float, float, float] = (1.0, 1.0, 1.0)
    mirrored: bool = False

    def picture(self, picture: Image.Image) -> Image.Image:
        """The view of an RGB picture, in the picture's size."""
        picture = self.mask(picture)
        for kind, factor in zip(
            (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color), self.colour, strict=True
        ):
            picture = kind(picture).enhance(factor) if factor != 1 else picture
        return picture

    def mask(self, mask: Image.Image) -> Image.Image:
        """The same view of the picture's mask: cropped and mirrored, without the change of colour."""
        if self.box != WHOLE:
            left, top, right, bottom = self.box
            box = (left * mask.width, top * mask.height, right * mask.width, bottom * mask.height)
            mask = mask.resize(mask.size, Image.Resampling.LANCZOS, box=box)
        return mask.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if self.mirrored else mask

    def caption(self, caption: str, names: Sequence[str] = ()) -> str:
        """The caption of the view: where it is mirrored, *left* and *right* are swapped, in capitals where they were,
        but not inside of `names`: a mirrored right whale is one still. Hues never change, so that the names of colours
        remain true. Words that are made with them and name a side are swapped too ("right-hand"), idioms that name none
        are not ("right-handed", "right now").
        """
        if not self.mirrored:
            return caption
        spared = [rf"(?<![\w-])(?ai:{re.escape(name)})(?:e?s)?(?![\w-])" for name in names]  # one, or several of them
        found = re.compile("|".join([*spared, f"(?P<side>{SIDE})"]))
        return found.sub(lambda word: _other_side(word[0]) if word["side"] and _names_side(word) else word[0], caption)


def choose_views(augment: Augment, flip: bool, subject: Box, seed: int, index: int) -> list[View]:
    """The views of sample `index`: `augment.views` of them, the unchanged one first; with `flip` each one mirrored too.

    A crop removes at most the share `augment.crop` of width and height, and nothing of `subject`, the subject's
    bounding box in shares of the picture; colours change by factors in 1 - `augment.colour` .. 1 + `augment.colour`.
    """
    views = [View()]
    for number in range(1, augment.views):
        generator = generator_at(seed, "view", index, number)
        size, across, down, *colour = torch.rand(6, generator=generator).tolist()
        size = max(1 - augment.crop * size, subject[2] - subject[0], subject[3] - subject[1])
        left, top = _place(size, across, subject[0], subject[2]), _place(size, down, subject[1], subject[3])
        factors = [1 + augment.colour * (2 * value - 1) for value in colour]
        views.append(View((left, top, left + size, top + size), (factors[0], factors[1], factors[2])))
    return views + [replace(view, mirrored=True) for view in views] if flip else views


def same_views_sentence(augment: Augment, views: Sequence[Sequence[View]]) -> str | None:
    """How many pictures have no other view than the plain one (and its mirror image), though several were asked for;
    None: none.

    Args:
        views: those of each picture.
    """
    same = sum(len({replace(view, mirrored=False) for view in shown}) == 1 for shown in views)
    if augment.views == 1 or not same:
        return None
    return (
        f"train.augment.views is {augment.views}, but for {same} of {counted(len(views), 'picture')} all views are the "
        "same: a crop may cut nothing off the subject, and train.augment.colour is 0"
    )


def _names_side(word: re.Match[str]) -> bool:
    """Whether *left* or *right* names a side where it stands."""
    side, before, after = word[0].lower(), word.string[: word.start()], word.string[word.end() :]
    if side == "right" and re.search(ALL, before):
        return False
    return not re.match(NO_SIDE_AFTER[side], after) or bool(re.search(NAMES_A_SIDE, before))


def _other_side(word: str) -> str:
    """'right' for 'left', 'Right' for 'Left', 'RIGHT' for 'LEFT'; and the other way round."""
    other = SIDES[word.lower()]
    return other.upper() if word.isupper() else other.capitalize() if word[0].isupper() else other


def _place(size: float, at: float, first: float, last: float) -> float:
    """The start of a window of `size` within 0..1 that contains first..last, at the share `at` of its freedom."""
    lowest, highest = max(0.0, last - size), min(1 - size, first)
    return min(max(lowest + at * (highest - lowest), 0.0), 1 - size)
