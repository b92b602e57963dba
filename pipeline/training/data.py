"""Instance and class samples: their VAE moments and the weights of their loss, computed once, by sample and view."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from pipeline.training.augmentation import WHOLE, Box, View


@dataclass(frozen=True)
class Sample:
    """A prepared picture, and what is said of it."""

    file: Path
    caption: str
    mask: Path | None = None  # white where the subject is


def read_pixels(picture: Image.Image) -> torch.Tensor:
    """A picture as float32 [1, 3, height, width] in -1..1."""
    pixels = np.asarray(picture.convert("RGB"), np.float32) / 127.5 - 1
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]


class Moments:
    """Mean and logarithm of the variance of each view's latent distribution: `values[sample]` is [views, 8, h, w].

    Samples may differ in shape.
    """

    def __init__(
        self, vae: Any, samples: Sequence[Sample], views: Sequence[Sequence[View]], device: torch.device, title: str
    ):
        self.views = views
        self.values: list[torch.Tensor] = []
        self.scale = float(vae.config.scaling_factor)
        with tqdm(total=sum(map(len, views)), desc=title, mininterval=1, unit="image") as bar, torch.no_grad():
            for sample, shown in zip(samples, views, strict=True):
                found = []
                with Image.open(sample.file) as file:
                    picture = file.convert("RGB")
                for view in shown:
                    pixels = read_pixels(view.picture(picture)).to(device, vae.dtype)
                    found.append(vae.encode(pixels).latent_dist.parameters.float().cpu())
                    bar.update()
                self.values.append(torch.cat(found))

    def variant(self, index: int, generator: torch.Generator) -> int:
        """Which view of a sample is shown."""
        count = len(self.views[index])
        return int(torch.randint(count, (), generator=generator)) if count > 1 else 0

    def draw(self, index: int, variant: int, generator: torch.Generator) -> torch.Tensor:
        """A latent of sample `index`, [4, h, w]: a point of its distribution, drawn afresh."""
        mean, logvar = self.values[index][variant].chunk(2)
        noise = torch.randn(mean.shape, generator=generator)
        return (mean + torch.exp(0.5 * logvar.clamp(-30, 20)) * noise) * self.scale


def plain_views(samples: Sequence[Sample], flip: bool = False) -> list[list[View]]:
    """Each sample as it is, and with `flip` mirrored."""
    return [[View(), View(mirrored=True)] if flip else [View()] for _ in samples]


def subject_box(sample: Sample) -> Box:
    """The box that the subject fills, in shares of the picture: that of its mask, else the middle half."""
    if sample.mask is None:
        return (0.25, 0.25, 0.75, 0.75)
    with Image.open(sample.mask) as mask:
        box = mask.convert("L").point(lambda value: 255 * (value >= 128)).getbbox()
        sides = mask.size * 2
    return WHOLE if box is None else cast("Box", tuple(at / side for at, side in zip(box, sides, strict=True)))


class Focus:
    """Weights of the loss over each latent: 1 on the subject, `background` beside it; ones without a mask.

    `values[sample]` is float32 [views, 1, h, w] like the moments', None where nothing is weighted.
    """

    def __init__(self, samples: Sequence[Sample], moments: Moments, background: float):
        self.values: list[torch.Tensor] | None = None
        if background == 1 or not any(sample.mask for sample in samples):
            return
        self.values = [
            self._of(sample, views, values, background)
            for sample, views, values in zip(samples, moments.views, moments.values, strict=True)
        ]

    def _of(self, sample: Sample, views: Sequence[View], values: torch.Tensor, background: float) -> torch.Tensor:
        height, width = values.shape[-2:]
        if sample.mask is None:
            return torch.ones(len(views), 1, height, width)
        with Image.open(sample.mask) as file:
            mask = file.convert("L")
        pixels = torch.stack([torch.from_numpy(np.asarray(view.mask(mask), np.float32) / 255)[None] for view in views])
        share = torch.nn.functional.adaptive_avg_pool2d(pixels, (height, width))
        return background + (1 - background) * share

    def of(self, index: int, variant: int, like: torch.Tensor) -> torch.Tensor:
        """The weights of a sample whose latent is `like`, [1, h, w]."""
        return torch.ones_like(like[:1]) if self.values is None else self.values[index][variant]
