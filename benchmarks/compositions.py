"""What regions do, as a picture: `python -m benchmarks.compositions --out docs/regions.png`.

The upper rows are the embedded base, without any training. With `--first FOLDER --second FOLDER`, two model folders
of other subjects on that base, further rows show both subjects in one picture.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from benchmarks.stages import refuse_other
from pipeline.base.components import load_pipeline
from pipeline.base.resolve import EMBEDDED
from pipeline.environment import prepare_environment
from pipeline.lineage.read import read_lineage
from pipeline.sampling.layers import OtherModel, Words
from pipeline.sampling.recipe import Recipe, recipe_of
from pipeline.sampling.recipe_sampler import RecipeSampler
from pipeline.sampling.sampler import Request

SCENE, SEEDS, STEPS, GUIDANCE, SIZE, SHOWN = "on the beach", range(1, 7), 12, 3.0, 64, 128


def row(
    pipe: Any, prompt: str, recipe: Recipe, words: Words, seeds: Sequence[int] = SEEDS, steps: int = STEPS, **more: Any
) -> list[Image.Image]:
    """A picture for each seed; `more` is what else the sampler takes for the recipe. The pipeline stays as it is."""
    own = pipe.scheduler
    sampler = RecipeSampler(pipe, "dpmpp-2m", recipe, words, **more)
    drawn = list(sampler.draw([Request(prompt, seed) for seed in seeds], steps, GUIDANCE, SIZE, 8))
    pipe.scheduler = own
    return drawn


def halves(left: str, right: str, model: str | None = None) -> Recipe:
    """A recipe with two regions; the right one has another model where `model` names one."""
    other = {"model": model} if model else {}
    regions = [{"place": "left", "prompt": left}, {"place": "right", "prompt": right, **other}]
    return recipe_of({"regions": regions}, "regions")


def main() -> None:
    """Draw the rows and write them as one picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--first", type=Path)
    parser.add_argument("--second", type=Path)
    asked = parser.parse_args()
    base, nobody = _load(EMBEDDED["pocket"]), Words("cat", "cat")
    cat, penguin = f"a photo of a cat {SCENE}", f"a photo of a penguin {SCENE}"
    rows = [row(base, f"a photo of a cat and a penguin {SCENE}", Recipe(), nobody)]
    rows.append(row(base, f"a photo {SCENE}", halves(cat, penguin), nobody))
    if asked.first and asked.second:
        for folder in (asked.first, asked.second):
            refuse_other(folder, "pocket")
        subjects = [read_lineage(folder)["params"]["subject"] for folder in (asked.first, asked.second)]
        words = [Words(one["token"], one["class_noun"]) for one in subjects]
        prompts = [f"a photo of {one.token} {one.class_noun} {SCENE}" for one in words]
        first, second = _load(asked.first), _load(asked.second)
        for pipe, prompt, own in ((first, prompts[0], words[0]), (second, prompts[1], words[1])):
            rows.append(row(pipe, prompt, Recipe(), own))
        others = {"second": OtherModel(second, words[1])}
        rows.append(row(first, f"a photo {SCENE}", halves(prompts[0], prompts[1], "second"), words[0], others=others))
    sheet = Image.new("RGB", (len(SEEDS) * (SHOWN + 4) - 4, len(rows) * (SHOWN + 4) - 4), "white")
    for down, pictures in enumerate(rows):
        for across, picture in enumerate(pictures):
            shown = picture.resize((SHOWN, SHOWN), Image.Resampling.BICUBIC)
            sheet.paste(shown, (across * (SHOWN + 4), down * (SHOWN + 4)))
    sheet.quantize(256).save(asked.out, optimize=True)


def _load(folder: Path) -> Any:
    return load_pipeline(folder, torch.float32, "cpu")


if __name__ == "__main__":
    prepare_environment()
    main()
