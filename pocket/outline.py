"""The instrument behind `control`: a small network that finds the outline of the thing in a picture of pocket's world.

It is trained on compositions, whose outlines are known, and tried on compositions that it never saw: what it says of a
drawn picture is as good as that figure, which stands beside every measurement made with it.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from pipeline.evaluation.outline_network import Outliner, load_outliner, outlines_of, overlaps
from pocket.loop import train
from pocket.origin import SPRITES, origin
from pocket.recipe import Recipe
from pocket.world import World, draw_outlined, load_sprites

TRAINING, TRIAL = 31, 32  # seeds of the compositions
TRIED = 200  # compositions that the instrument is tried on


@dataclass(frozen=True)
class Outlined:
    """Compositions: `pixels` [n, 3, size, size] in -1..1, `outlines` [n, 1, size, size] in 0..1, a caption each."""

    pixels: torch.Tensor
    outlines: torch.Tensor
    captions: list[str]


def outlined(world: World, seed: int, number: int, count: int, size: int) -> Outlined:
    """Batch `number` of compositions that show something, always the same ones."""
    pictures, outlines, captions = [], [], []
    index = 0
    while len(pictures) < count:
        picture, outline, text = draw_outlined(world, seed, number * 4 * count + index, size)
        index += 1
        if outline.any():
            pictures.append(picture)
            outlines.append(outline)
            captions.append(text)
    pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return Outlined(pixels, torch.from_numpy(np.stack(outlines))[:, None].float() / 255, captions)


def train_outliner(recipe: Recipe, work: Path) -> None:
    """Cross-entropy and overlap of the outlines of compositions drawn on the way; then it is tried on others."""
    world = World(load_sprites(work / "world" / "sprites.npz"), recipe.world.toy_share)
    torch.manual_seed(6)
    net = Outliner().to(recipe.device)

    def loss_at(number: int) -> dict[str, torch.Tensor]:
        shown = outlined(world, TRAINING, number, recipe.outline.batch, recipe.size)
        found = net(shown.pixels.to(recipe.device)).float()
        wanted = shown.outlines.to(recipe.device)
        both = (found.sigmoid() * wanted).sum((1, 2, 3))
        dice = 1 - (2 * both / (found.sigmoid() + wanted).sum((1, 2, 3))).mean()
        overlap = overlaps(found.sigmoid(), wanted).mean()
        return {"loss": F.binary_cross_entropy_with_logits(found, wanted) + dice, "overlap": overlap}

    folder = work / "outline"
    made_from = origin(recipe, "outline", work, [SPRITES], recipe.world.toy_share)
    train(net, loss_at, recipe.outline, folder, "outline", made_from)
    save_file(
        {key: value.half().contiguous() for key, value in net.state_dict().items()}, folder / "outline.safetensors"
    )
    tried = outlined(world, TRIAL, 0, TRIED, recipe.size)
    found = outlines_of(load_outliner(folder / "outline.safetensors"), tried.pixels)
    figure = {"tried": TRIED, "overlap": round(float(overlaps(found, tried.outlines).mean()), 4)}
    (folder / "outline.json").write_text(json.dumps(figure) + "\n")


if __name__ == "__main__":
    from pocket.stages import run

    run(train_outliner)
