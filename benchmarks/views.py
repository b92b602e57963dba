"""Whether features tell photos from one side from photos from all around: `python -m benchmarks.views [--photos 10]`.

Draws every plush toy of pocket's world, and the two of the examples, cut out and pasted into places, in four sets each:
from the front and from a side (within 20 degrees), from the front half, and from all around. The embedded encoders look
at the whole photos and at the subject alone on grey. Printed are, for each set, the mean, the median and the largest
cosine distance between two photos: the lowest and the highest over all toys; and the probability that a set from all
around has a larger one than a set from one side (the area under the ROC curve, 0.5: chance).
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from examples.toys import TOYS
from pipeline.evaluation.backbones import Clip, Encoder
from pocket import scenery
from pocket.plush import KINDS, TOY_COLORS, Body, Toy, body_of, render_body

POCKET = Path(__file__).resolve().parents[1] / "pocket"
PLACES = (
    scenery.living_room, scenery.beach, scenery.garden, scenery.kitchen, scenery.snow, scenery.books, scenery.forest,
    scenery.studio, scenery.city, scenery.desert,
)  # fmt: skip
SIDE, SPRITE, SEEN = 96, 72, 64  # pixels of a photo, of a toy cut out, and of the subject alone
GREY = 127
STATISTICS = {"mean": np.mean, "median": np.median, "largest": np.max}


def yaws(kind: str, count: int, rng: np.random.Generator) -> np.ndarray:
    """Which side each photo of a set shows, in radians."""
    if kind == "around":
        return np.arange(count) / count * 2 * np.pi + rng.uniform(-0.2, 0.2, count)
    middle, width = {"front": (0.0, 0.35), "side": (np.pi / 2, 0.35), "front half": (0.0, 1.4)}[kind]
    return middle + rng.uniform(-width, width, count)


def photo(body: Body, yaw: float, place: int, rng: np.random.Generator) -> tuple[Image.Image, Image.Image]:
    """A toy in a place, and its mask."""
    light = np.float32([rng.uniform(-0.7, 0.7), 0.9, rng.uniform(0.3, 0.8)])
    toy = Image.fromarray(render_body(body, yaw, rng.uniform(0.1, 0.4), light / np.linalg.norm(light), SPRITE))
    drawn = np.asarray(PLACES[place % len(PLACES)](rng, SIDE), np.float32)
    picture = Image.fromarray((drawn * (255 if drawn.max() <= 1.01 else 1)).astype(np.uint8))
    size = int(rng.uniform(56, 84))
    toy = toy.resize((size, size), Image.Resampling.BICUBIC)
    at = tuple(int(value) for value in rng.integers(0, SIDE - size + 1, 2))
    mask = Image.new("L", picture.size)
    mask.paste(toy.getchannel("A"), at)
    picture.paste(toy, at, toy)
    return picture, mask


def alone(picture: Image.Image, mask: Image.Image) -> Image.Image:
    """The subject on grey, as large as the picture."""
    share = np.asarray(mask, np.float32)[..., None] / 255
    shown = Image.fromarray((np.asarray(picture) * share + GREY * (1 - share)).astype(np.uint8))
    shown = shown.crop(mask.point(lambda value: 255 * (value > GREY)).getbbox())
    square = Image.new("RGB", (max(shown.size),) * 2, (GREY,) * 3)
    square.paste(shown, ((square.width - shown.width) // 2, (square.height - shown.height) // 2))
    return square.resize((SEEN, SEEN), Image.Resampling.BICUBIC)


@torch.inference_mode()
def distances(encoder: Encoder, pictures: list[Image.Image]) -> np.ndarray:
    """Cosine distances of all pairs."""
    pixels = torch.stack([encoder._pixels(picture) for picture in pictures])
    vectors = torch.nn.functional.normalize(encoder._embed(pixels).float(), dim=-1).numpy()
    found: np.ndarray = (1 - vectors @ vectors.T)[np.triu_indices(len(vectors), 1)]
    return found


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=10, help="photos in a set")
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    colors = list(TOY_COLORS.values())
    bodies = [make() for make in TOYS.values()]
    for number, kind in enumerate(KINDS):
        first, second = rng.choice(len(colors), 2, replace=False)
        bodies.append(body_of(Toy(kind, colors[first], colors[second], ("plain", "striped", "spotted")[number % 3])))
    encoders = {"identity": Encoder(POCKET / "identity"), "clip": Clip(POCKET / "clip")}
    found: dict[str, dict[str, list[float]]] = {}
    for body in bodies:
        for kind in ("front", "side", "front half", "around"):
            sides = yaws(kind, arguments.photos, rng)
            shots = [photo(body, yaw, place, rng) for place, yaw in enumerate(sides)]
            looks = {"whole": [shot[0] for shot in shots], "subject": [alone(*shot) for shot in shots]}
            for name, encoder in encoders.items():
                for look, pictures in looks.items():
                    far = distances(encoder, pictures)
                    for statistic, compute in STATISTICS.items():
                        row = found.setdefault(f"{name}, {look}, {statistic}", {})
                        row.setdefault(kind, []).append(float(compute(far)))
    for name, sets in found.items():
        around, one = np.array(sets["around"]), np.array([*sets["front"], *sets["side"]])
        spans = {kind: [round(min(values), 3), round(max(values), 3)] for kind, values in sets.items()}
        larger = float((around[:, None] > one[None]).mean())
        print(json.dumps({"features": name, "toys": len(bodies), **spans, "around is larger": round(larger, 3)}))


if __name__ == "__main__":
    main()
