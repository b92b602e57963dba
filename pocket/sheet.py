"""A sheet of pictures drawn by the exported base, to look at: `python -m pocket.sheet FILE.png`."""

import sys
from pathlib import Path

from PIL import Image

from pipeline.sampling.sampler import Request, Sampler

PROMPTS = (
    "a photo of a plush toy",
    "a photo of a brown bear plush toy on a wooden floor in a living room",
    "a photo of a striped pink rabbit plush toy on a beach",
    "a cinematic portrait of a plush toy during golden hour near the lake",
    "a photo of a plush toy wearing a tiny astronaut suit inside a spaceship",
    "a photo of a plush toy near books",
    "a photo of a plush toy walking on a snowy mountain trail at sunset",
    "an under water photo of a plush toy in aquarium",
    "a 3D render of a plush toy, studio lighting",
    "a watercolor painting of a plush toy in a flower field",
    "a photo of a wild boar in a forest",
    "a photo of a cat on a city street at night",
    "a photo of a red car in the desert",
    "a pencil drawing of an owl",
)


def draw(folder: Path, target: Path, seeds: int = 6, scale: int = 2) -> None:
    """One row a prompt, one column a seed."""
    sampler = Sampler.load(folder, "ddim", "fp32")
    requests = [Request(prompt, seed) for prompt in PROMPTS for seed in range(seeds)]
    pictures = list(sampler.draw(requests, 20, 4.0, 64, 16))
    side = 64 * scale
    sheet = Image.new("RGB", (seeds * side, len(PROMPTS) * side))
    for index, picture in enumerate(pictures):
        sheet.paste(picture.resize((side, side)), (index % seeds * side, index // seeds * side))
    sheet.save(target)


if __name__ == "__main__":
    draw(Path(__file__).parent / "model", Path(sys.argv[1]))
