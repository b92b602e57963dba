"""A small network that finds the outline of the thing in a picture, and how far two outlines agree."""

import itertools
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn


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


def load_outliner(path: Path) -> Outliner:
    """The network in a file, in float32."""
    net = Outliner()
    net.load_state_dict({key: value.float() for key, value in load_file(path).items()})
    return net.eval().requires_grad_(False)


def outlines_of(net: Outliner, pixels: torch.Tensor, batch: int = 50) -> torch.Tensor:
    """The outlines in pictures [n, 3, size, size] of -1..1: [n, 1, size, size] in 0..1."""
    with torch.inference_mode():
        return torch.cat([net(part).sigmoid() for part in pixels.split(batch)])


def overlaps(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Intersection over union of masks [n, 1, h, w], cut at one half: [n]."""
    first, second = one.flatten(1) > 0.5, other.flatten(1) > 0.5
    return (first & second).sum(1) / (first | second).sum(1).clamp_min(1)
