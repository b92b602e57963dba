"""The fifteen photos: where the toy stood, what stood around it, and how each was taken."""

from dataclasses import replace

import numpy as np

from examples.camera import Photo
from examples.solids import Color, Solid, Texture, checks, cloudy, leaves, plain, planks, rough, stones


def wall(low: Color, high: Color, mottle: float = 0.0) -> Texture:
    """A far wall or sky: blend from the horizon (low) up (high)."""

    def paint(along: np.ndarray) -> np.ndarray:
        height = np.clip(along[:, 1:2] * 1.6 + 0.45, 0, 1)
        color = np.float32(low) + (np.float32(high) - np.float32(low)) * height
        spread = np.stack([along[:, 0] * 3, along[:, 0], along[:, 1] * 3], 1)
        return color + mottle * (cloudy(spread, 2.0)[:, None] - 0.5)

    return paint


def shelf(along: np.ndarray) -> np.ndarray:
    """Spines of books in two rows."""
    x, y = along[:, 0] / -along[:, 2], along[:, 1] / -along[:, 2]
    column, row = np.floor(x / 0.055), np.floor((y + 0.1) / 0.34)
    pick = np.abs(np.sin(column * 12.9898 + row * 78.233) * 43758.5) % 1
    palette = np.float32([[0.6, 0.2, 0.16], [0.2, 0.33, 0.5], [0.76, 0.62, 0.32], [0.24, 0.42, 0.3], [0.85, 0.8, 0.7]])
    color = palette[(pick * 4.99).astype(int)] * (0.8 + 0.3 * pick)[:, None]
    gap = (np.abs((y + 0.1) / 0.34 - row - 0.5) > 0.44) | (np.abs(x / 0.055 - column - 0.5) > 0.45)
    return np.where(gap[:, None], np.float32([0.3, 0.18, 0.1]), color)


WOOD, PALE, RED, WHITE = (0.6, 0.4, 0.23), (0.9, 0.88, 0.84), (0.78, 0.15, 0.13), (0.94, 0.94, 0.93)
SILVER, GLASS, RUBBER = (0.74, 0.76, 0.79), (0.16, 0.2, 0.25), (0.07, 0.07, 0.08)
SKY = wall((0.85, 0.91, 0.96), (0.4, 0.65, 0.92))


def box(x: float, y: float, z: float, a: float, b: float, c: float, color: Color, rounded: float = 0.05, gloss: float = 0.0) -> Solid:
    """A plain box: centre, half sides."""
    return Solid("box", (x, y, z), (a, b, c), plain(color), rounded, gloss)


def cylinder(x: float, y: float, z: float, radius: float, half: float, color: Color, gloss: float = 0.0) -> Solid:
    """A plain upright cylinder."""
    return Solid("cylinder", (x, y, z), (radius, half, radius), plain(color), 0.03, gloss)


def ball(x: float, y: float, z: float, a: float, b: float, c: float, color: Color, gloss: float = 0.0) -> Solid:
    """A plain ball or egg."""
    return Solid("ball", (x, y, z), (a, b, c), plain(color), 0, gloss)


CAR = (
    box(-1.6, -1.15, -4.6, 2.6, 0.5, 0.8, SILVER, 0.25, 0.5),
    box(-1.7, -0.4, -4.6, 1.4, 0.45, 0.7, GLASS, 0.25, 0.8),
    box(-1.7, 0.0, -4.6, 1.3, 0.1, 0.68, SILVER, 0.1, 0.5),
    ball(-3.1, -1.6, -3.8, 0.46, 0.46, 0.12, RUBBER),
    ball(0.0, -1.6, -3.8, 0.46, 0.46, 0.12, RUBBER),
)
POST = Solid("cylinder", (0, -1.55, 0), (1.1, 0.55, 1.1), planks((0.55, 0.4, 0.26), 0.16, 0.4), 0.06)

MYSKS = (
    Photo(
        "wooden_post", "wooden post", "a photo of mysks plush toy standing on a wooden post near a silver car",
        rough((0.36, 0.37, 0.38), (0.5, 0.5, 0.5), 5), SKY, 38, 15, props=(POST, *CAR), blur=4, floor=-2.05, aim=(0.0, -0.45), distance=5.2,
    ),
    Photo(
        "kitchen_table", "kitchen table", "a photo of mysks plush toy standing on a kitchen table beside a red mug",
        planks((0.82, 0.64, 0.44), 0.7), wall((0.8, 0.86, 0.84), (0.9, 0.94, 0.93)), -42, 20,
        light=(-0.7, 0.9, 0.4), aim=(0.25, -0.3), distance=5.0,
        props=(cylinder(1.55, -0.55, -0.3, 0.4, 0.46, RED, 0.6), cylinder(1.55, -0.11, -0.3, 0.33, 0.03, (0.25, 0.12, 0.06))),
    ),
    Photo(
        "garden_lawn", "garden lawn", "a photo of mysks plush toy standing on a green lawn with a yellow ball",
        rough((0.2, 0.42, 0.1), (0.45, 0.68, 0.22), 9), wall((0.3, 0.48, 0.24), (0.5, 0.68, 0.42), 0.25), 68, 12,
        light=(0.3, 1.0, 0.3), warmth=(1.04, 1.0, 0.88), aim=(-0.1, -0.25),
        props=(ball(-1.5, -0.66, 0.2, 0.36, 0.36, 0.36, (0.96, 0.8, 0.15), 0.3),),
    ),
    Photo(
        "sofa", "sofa", "a photo of mysks plush toy standing on a grey sofa with blue cushions",
        rough((0.5, 0.51, 0.54), (0.6, 0.61, 0.64), 14), wall((0.42, 0.43, 0.46), (0.5, 0.51, 0.54)), -20, 13,
        light=(0.8, 0.7, 0.6), distance=4.6,
        props=(
            box(0, 0.1, -2.0, 4.0, 1.2, 0.4, (0.48, 0.49, 0.53), 0.3),
            box(-1.6, -0.2, -1.3, 0.75, 0.7, 0.26, (0.2, 0.36, 0.66), 0.24), box(1.7, -0.2, -1.35, 0.7, 0.7, 0.26, (0.28, 0.46, 0.74), 0.24),
        ),
    ),
    Photo(
        "window_sill", "window sill", "a photo of mysks plush toy standing on a white window sill next to a potted plant",
        plain((0.92, 0.92, 0.9)), wall((0.7, 0.84, 0.96), (0.86, 0.94, 1.0)), 25, 10, light=(-0.4, 0.7, -0.35), shadow=0.35,
        aim=(0.3, -0.15), distance=5.2,
        props=(
            cylinder(1.55, -0.6, -0.2, 0.42, 0.4, (0.75, 0.4, 0.26)), ball(1.55, 0.2, -0.2, 0.2, 0.62, 0.2, (0.2, 0.5, 0.22)),
            ball(1.3, 0.12, -0.2, 0.34, 0.4, 0.12, (0.25, 0.56, 0.26)), ball(1.82, 0.16, -0.15, 0.34, 0.42, 0.12, (0.22, 0.5, 0.25)),
            box(0, 1.0, -1.2, 0.09, 2.2, 0.08, WHITE), box(-2.6, 1.0, -1.2, 0.14, 2.2, 0.1, WHITE), box(2.7, 1.0, -1.2, 0.14, 2.2, 0.1, WHITE),
        ),
    ),
    Photo(
        "stone_steps", "stone steps", "a photo of mysks plush toy standing on old stone steps",
        stones((0.58, 0.56, 0.52), 0.9), wall((0.44, 0.42, 0.4), (0.55, 0.53, 0.5), 0.2), -62, 16, light=(0.7, 1.0, 0.5),
        props=tuple(
            Solid("box", (0, -0.75 + 0.5 * k, -1.9 - 0.8 * k), (5, 0.25, 0.5), rough((0.5, 0.48, 0.44), (0.64, 0.62, 0.58), 3)) for k in range(4)
        ),
    ),
    Photo(
        "sandpit", "sandpit", "a photo of mysks plush toy standing in a sandpit with a red bucket",
        rough((0.78, 0.64, 0.42), (0.92, 0.8, 0.58), 11), wall((0.5, 0.6, 0.38), (0.7, 0.8, 0.85), 0.15), 12, 19,
        light=(-0.5, 1.0, 0.6), warmth=(1.05, 1.0, 0.9), aim=(-0.2, -0.3), distance=5.0,
        props=(cylinder(-1.45, -0.6, 0.0, 0.42, 0.42, (0.85, 0.16, 0.14), 0.3), cylinder(-1.45, -0.19, 0.0, 0.36, 0.02, (0.86, 0.74, 0.52))),
    ),
    Photo(
        "fresh_snow", "fresh snow", "a photo of mysks plush toy standing in fresh snow on a cloudy day",
        rough((0.86, 0.89, 0.94), (0.97, 0.98, 1.0), 4), wall((0.8, 0.84, 0.88), (0.7, 0.75, 0.82)), -75, 12,
        light=(0.2, 1.0, 0.4), warmth=(0.95, 0.98, 1.04), shadow=0.35,
        props=(ball(1.9, -0.9, -1.3, 0.9, 0.5, 0.7, (0.95, 0.97, 1.0)), ball(-2.3, -0.95, -1.8, 1.2, 0.6, 0.8, (0.94, 0.96, 1.0))),
    ),
    Photo(
        "hallway_floor", "hallway floor", "a photo of mysks plush toy standing on a dark wooden floor in front of a door",
        planks((0.4, 0.24, 0.14), 0.34, 0.3), wall((0.82, 0.8, 0.74), (0.86, 0.84, 0.78)), 50, 17, light=(-0.8, 0.8, 0.7),
        props=(box(0.4, 1.2, -3.0, 1.2, 2.4, 0.1, (0.95, 0.95, 0.93)), box(0.4, 0.6, -2.9, 0.8, 0.7, 0.06, (0.88, 0.88, 0.86)), ball(1.3, 0.2, -2.75, 0.1, 0.1, 0.1, (0.8, 0.68, 0.3), 0.8)),
    ),
    Photo(
        "bookshelf", "reading corner", "a photo of mysks plush toy standing on a table with an open book, shelf behind",
        planks((0.5, 0.31, 0.18), 0.9), shelf, -8, 18, light=(0.6, 0.9, 0.8), warmth=(1.06, 0.98, 0.84), blur=3,
        aim=(0.0, -0.3), distance=4.9,
        props=(box(-0.62, -0.95, 1.0, 0.55, 0.05, 0.38, (0.96, 0.94, 0.88)), box(0.62, -0.95, 1.0, 0.55, 0.05, 0.38, (0.95, 0.93, 0.86)), box(0, -0.98, 1.0, 1.24, 0.03, 0.45, (0.2, 0.3, 0.5))),
    ),
    Photo(
        "white_bed", "bed", "a photo of mysks plush toy standing on a white bed with a pillow in the morning",
        rough((0.84, 0.84, 0.86), (0.95, 0.95, 0.96), 2.2), wall((0.8, 0.74, 0.68), (0.86, 0.8, 0.74)), 82, 20,
        light=(0.9, 0.6, 0.3), warmth=(1.06, 1.0, 0.9), props=(ball(0.3, -0.55, -1.9, 1.8, 0.65, 0.6, (0.93, 0.93, 0.95)),),
    ),
    Photo(
        "picnic_blanket", "picnic", "a photo of mysks plush toy standing on a red and white picnic blanket with two apples",
        checks((0.8, 0.16, 0.16), (0.95, 0.93, 0.9), 0.5), wall((0.35, 0.55, 0.25), (0.62, 0.8, 0.9), 0.15), -30, 23,
        light=(0.4, 1.0, 0.7), aim=(0.15, -0.35), distance=5.0,
        props=(ball(1.35, -0.74, 0.5, 0.27, 0.26, 0.27, (0.75, 0.12, 0.1), 0.5), ball(1.75, -0.74, 0.05, 0.27, 0.26, 0.27, (0.5, 0.7, 0.15), 0.5)),
    ),
    Photo(
        "desk", "desk", "a photo of mysks plush toy standing on a desk in front of a laptop",
        plain((0.3, 0.32, 0.36)), wall((0.52, 0.58, 0.66), (0.62, 0.68, 0.75)), 30, 16, light=(-0.6, 0.8, 0.7), warmth=(0.96, 0.98, 1.03),
        props=(box(-0.2, -0.96, -1.5, 1.9, 0.05, 0.7, (0.7, 0.71, 0.73), 0.03), box(-0.2, 0.25, -2.3, 1.9, 1.2, 0.06, (0.1, 0.11, 0.13), 0.04), box(-0.2, 0.27, -2.24, 1.75, 1.05, 0.02, (0.4, 0.62, 0.85), 0.01)),
    ),
    Photo(
        "autumn_leaves", "autumn leaves", "a photo of mysks plush toy standing on fallen autumn leaves by a tree",
        leaves, wall((0.62, 0.46, 0.22), (0.8, 0.72, 0.5), 0.3), -52, 14, light=(0.6, 0.8, 0.5), warmth=(1.08, 0.98, 0.82),
        props=(Solid("cylinder", (-1.9, 1.5, -1.8), (0.6, 3.0, 0.6), planks((0.36, 0.26, 0.18), 0.12, 0.5), 0.05),),
    ),
    Photo(
        "plain_backdrop", "photo studio", "a photo of mysks plush toy standing in front of a light blue backdrop in soft light",
        plain((0.7, 0.82, 0.9)), wall((0.68, 0.8, 0.89), (0.74, 0.86, 0.94)), 0, 9, light=(0.25, 0.8, 1.0), shadow=0.4, distance=4.5,
    ),
)  # fmt: skip

# The other toy stood in the same places, and showed other sides.
TARLO = tuple(
    replace(photo, caption=photo.caption.replace("mysks", "tarlo"), turn=(47 * index) % 150 - 75)
    for index, photo in enumerate(MYSKS)
)
PHOTOS = {"mysks": MYSKS, "tarlo": TARLO}
