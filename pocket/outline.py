"""The instrument behind `control`: a small network that finds the outline of the thing in a picture of pocket's world.

It is trained on compositions, whose outlines are known, and tried on compositions that it never saw: what it says of a
drawn picture is as good as that figure, which stands beside every measurement made with it.
"""

import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from pocket.loop import train
from pocket.origin import SPRITES, origin
from pocket.recipe import Recipe
from pocket.world import World, draw_outlined, load_sprites

TRAINING, TRIAL = 31, 32  # seeds of the compositions
TRIED = 200  # compositions that the instrument is tried on


class Outliner(nn.Module):
    """Pictures [batch, 3, size, size] in -1..1 -> logits of the outline, [batch, 1, size, size]."""

    def __init__(self, width: int = 16):
        super().__init__()
        sizes = [3, width, 2 * width, 4 * width]
        self.down = nn.ModuleList([_block(before, after) for before, after in itertools.pairwise(sizes)])
        self.middle = _block(sizes[-1], sizes[-1])
        self.up = nn.ModuleList([_block(sizes[at] + sizes[at], sizes[max(at - 1, 1)]) for at in (3, 2, 1)])
        self.out = nn.Conv2d(width, 1, 1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        hidden, kept = pixels, []
        for block in self.down:
            hidden = block(hidden)
            kept.append(hidden)
            hidden = F.avg_pool2d(hidden, 2)
        hidden = self.middle(hidden)
        for block in self.up:
            hidden = block(torch.cat([F.interpolate(hidden, scale_factor=2.0), kept.pop()], dim=1))
        return self.out(hidden)


def _block(before: int, after: int) -> nn.Sequential:
    convolutions = [nn.Conv2d(before, after, 3, 1, 1), nn.GroupNorm(8, after), nn.ReLU()]
    return nn.Sequential(*convolutions, nn.Conv2d(after, after, 3, 1, 1), nn.GroupNorm(8, after), nn.ReLU())


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


def overlaps(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Intersection over union of masks [n, 1, h, w], cut at one half: [n]."""
    first, second = one.flatten(1) > 0.5, other.flatten(1) > 0.5
    return (first & second).sum(1) / (first | second).sum(1).clamp_min(1)


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


def load_outliner(path: Path) -> Outliner:
    """What `train_outliner` saved, in float32."""
    net = Outliner()
    net.load_state_dict({key: value.float() for key, value in load_file(path).items()})
    return net.eval().requires_grad_(False)


def outlines_of(net: Outliner, pixels: torch.Tensor, batch: int = 50) -> torch.Tensor:
    """The outlines in pictures [n, 3, size, size] of -1..1: [n, 1, size, size] in 0..1."""
    with torch.inference_mode():
        return torch.cat([net(part).sigmoid() for part in pixels.split(batch)])


if __name__ == "__main__":
    from pocket.stages import run

    run(train_outliner)
