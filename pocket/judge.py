"""The judge of pocket's pictures: a small classifier of object, scene and style, trained on the real compositions.

It has nothing in common with the CLIP whose text tower steers the U-Net, so it may judge what the U-Net draws.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from pipeline.evaluation.aspect_classifier import Judge
from pocket.loop import Pictures, indices_at, mixed_precision, train
from pocket.origin import WORLD, origin
from pocket.recipe import Recipe
from pocket.scenes import SCENES
from pocket.styles import STYLES

ASPECTS = ("thing", "scene", "style")


def train_judge(recipe: Recipe, work: Path) -> None:
    """Sum of the three cross-entropies, on pictures that are flipped, shifted and now and then softened."""
    pictures = Pictures(work / "world" / "train")
    things = sorted({facts["thing"] for facts in pictures.facts})
    torch.manual_seed(4)
    judge = Judge({"thing": things, "scene": list(SCENES), "style": list(STYLES)}).to(recipe.device)
    labels = {
        aspect: torch.tensor([judge.names[aspect].index(facts[aspect]) for facts in pictures.facts])
        for aspect in ASPECTS
    }

    def loss_at(step: int) -> dict[str, torch.Tensor]:
        indices = np.sort(indices_at(step, recipe.judge.batch, len(pictures), seed=4))
        pixels = varied(pictures.batch(indices, recipe.device, flip=bool(step % 2)), np.random.default_rng([4, step]))
        with mixed_precision(recipe):
            logits = judge(pixels)
        targets = {aspect: labels[aspect][torch.from_numpy(indices)].to(recipe.device) for aspect in ASPECTS}
        losses = [F.cross_entropy(logits[aspect].float(), targets[aspect]) for aspect in ASPECTS]
        hits = {aspect: (logits[aspect].argmax(1) == targets[aspect]).float().mean() for aspect in ASPECTS}
        return {"loss": torch.stack(losses).sum(), **hits}

    train(judge, loss_at, recipe.judge, work / "judge", "judge", origin(recipe, "judge", work, WORLD[:1]))
    judge.save(work / "judge" / "judge.safetensors")


def phrases() -> dict[str, dict[str, list[str]]]:
    """The words by which captions name each scene and style."""
    known = {"scene": SCENES, "style": STYLES}
    return {aspect: {name: list(one.phrases) for name, one in found.items()} for aspect, found in known.items()}


def varied(pixels: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """A batch shifted by up to a sixteenth of its side, every third one reduced and enlarged again."""
    side = pixels.shape[-1]
    margin = side // 16
    top, left = rng.integers(0, 2 * margin + 1, 2)
    pixels = F.pad(pixels, (margin,) * 4, mode="replicate")[..., top : top + side, left : left + side]
    if rng.random() < 1 / 3:
        small = F.interpolate(pixels, scale_factor=float(rng.uniform(0.5, 0.9)), mode="area")
        pixels = F.interpolate(small, size=side, mode="bilinear")
    return pixels


if __name__ == "__main__":
    from pocket.stages import run

    run(train_judge)
