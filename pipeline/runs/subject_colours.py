"""The colour of the subject, by name, from its photos."""

from collections.abc import Iterable

import numpy as np
from PIL import Image

NAMES = ("black", "white", "grey", "red", "orange", "brown", "yellow", "green", "blue", "purple", "pink", "beige")
SIDE = 96  # pixels of the reduction that is looked at
LEAST = 0.1  # share of the subject's pixels, above that of the background, from which a colour is named
Photo = tuple[Image.Image, Image.Image | None]  # in RGB, and its mask (mode L, the same shape) where there is one


def colour_words(photos: Iterable[Photo], most: int) -> list[str]:
    """The colours by which the subject stands out from what is around it, the first one the strongest.

    Where a photo has no mask, the ellipse in its middle counts as the subject and the rest as background.

    Args:
        most: how many names at most.
    """
    ahead = np.zeros(len(NAMES))
    count = 0
    for picture, mask in photos:
        names = name_colours(np.asarray(picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)))
        inside = _inside(mask)
        if inside.all() or not inside.any():
            inside = _inside(None)
        shares = [np.bincount(names[where], minlength=len(NAMES)) / where.sum() for where in (inside, ~inside)]
        ahead += shares[0] - shares[1]
        count += 1
    order = np.argsort(-ahead, kind="stable")
    return [NAMES[index] for index in order[:most] if count and ahead[index] / count >= LEAST]


def name_colours(pixels: np.ndarray) -> np.ndarray:
    """The index in `NAMES` of each pixel: uint8 [height, width, 3] becomes int [height, width]."""
    values = pixels.astype(float) / 255
    high, low = values.max(axis=-1), values.min(axis=-1)
    spread = high - low
    with np.errstate(divide="ignore", invalid="ignore"):
        red, green, blue = (values[..., channel] for channel in range(3))
        hue = np.select(
            [high == red, high == green],
            [(green - blue) / spread % 6, (blue - red) / spread + 2],
            (red - green) / spread + 4,
        )
        saturation = np.where(high > 0, spread / high, 0)
    hue = np.where(spread > 0, hue * 60, 0)
    index = {name: position for position, name in enumerate(NAMES)}
    return np.select(
        [
            high < 0.2,
            (saturation < 0.15) & (high > 0.8),
            saturation < 0.15,
            (hue >= 15) & (hue < 50) & (high < 0.72),
            (hue < 15) & (high < 0.5) | (hue >= 340) & (high < 0.4) | (hue >= 8) & (hue < 15) & (saturation < 0.7),
            ((hue < 15) | (hue >= 345)) & (saturation < 0.5) & (high < 0.75),
            (hue >= 15) & (hue < 65) & (saturation < 0.45),
            ((hue < 15) | (hue >= 345)) & (saturation < 0.5) | (hue >= 320) & (hue < 345) & (high >= 0.5),
            (hue < 15) | (hue >= 345),
            hue < 45,
            hue < 70,
            hue < 165,
            hue < 255,
        ],
        [
            *(index[name] for name in ("black", "white", "grey", "brown", "brown", "brown")),
            *(index[name] for name in ("beige", "pink", "red", "orange", "yellow", "green", "blue")),
        ],
        index["purple"],
    )


def _inside(mask: Image.Image | None) -> np.ndarray:
    if mask is not None:
        return np.asarray(mask.resize((SIDE, SIDE), Image.Resampling.BOX)) > 127
    across = np.linspace(-1, 1, SIDE)
    ellipse: np.ndarray = across[:, None] ** 2 + across[None, :] ** 2 < 0.45**2 * 2
    return ellipse
