"""Instance and class samples: latent moments of the VAE and loss weights, computed once for each sample and view."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from pipeline.errors import UserError, counted
from pipeline.params import Augment
from pipeline.training.augmentation import WHOLE, Box, View
from pipeline.training.placement import Placement, can_be_placed, subject_pixels
from pipeline.training.randomness import generator_at

# Of a subject in a place: where its feet are, as a share of the height, and how far size, feet and aside go either way.
FEET, SIZE_VARIES, FEET_VARY, ASIDE_VARIES = 0.91, 0.175, 0.06, 0.12


class MaskError(UserError):
    """A mask leaves nothing to train on."""


@dataclass(frozen=True)
class Sample:
    """A prepared picture with its caption; `mask` is white on the subject. With a `placement` it stands elsewhere.

    `frame` is where in the picture the photo is, in shares of its sides; white bars are around it.
    """

    file: Path
    caption: str
    mask: Path | None = None
    placement: Placement | None = None
    frame: Box = WHOLE

    def picture(self) -> Image.Image:
        """What is trained on, mode RGB."""
        with Image.open(self.file) as file:
            picture = file.convert("RGB")
        return self.placement.picture(picture, self._own_mask()) if self.placement else picture

    def subject(self) -> Image.Image | None:
        """Its mask, mode L, white on the subject; None: it has none."""
        if self.mask is None:
            return None
        return self.placement.mask(self._own_mask()) if self.placement else self._own_mask()

    def _own_mask(self) -> Image.Image:
        assert self.mask is not None
        with Image.open(self.mask) as file:
            return file.convert("L")


@dataclass(frozen=True)
class Place:
    """A picture of an empty place, and the caption of a photo with the subject in it."""

    file: Path
    caption: str


def placed(photos: Sequence[Sample], places: Sequence[Place], augment: Augment, seed: int) -> list[Sample]:
    """Each photo that `can_be_placed` by its mask in `augment.places` of the places, or in all where they are fewer.

    The subject stands in the middle, its longer side `augment.place_size` of the picture's; by `augment.place_spread`
    its size and position differ from place to place.
    """
    found = []
    for index, photo in enumerate(photos):
        mask = photo.subject()
        if mask is None or not can_be_placed(mask, photo.frame):
            continue
        generator = generator_at(seed, "place", index)
        for at in torch.randperm(len(places), generator=generator)[: augment.places].tolist():
            ways = ((2 * torch.rand(3, generator=generator) - 1) * augment.place_spread).tolist()
            placement = Placement(
                places[at].file,
                size=min(augment.place_size + SIZE_VARIES * ways[0], 1.0),
                feet=FEET + FEET_VARY * ways[1],
                aside=ASIDE_VARIES * ways[2],
            )
            found.append(Sample(photo.file, places[at].caption, photo.mask, placement))
    return found


def as_often(photos: Sequence[Sample], elsewhere: Sequence[Sample]) -> list[Sample]:
    """Photos that are in no place, or in fewer than others, once more for each that they lack: all are as frequent."""
    often = Counter(sample.file for sample in elsewhere)
    most = max(often.values(), default=0)
    return [photo for photo in photos for _ in range(most - often[photo.file])]


def read_pixels(picture: Image.Image) -> torch.Tensor:
    """A picture as float32 [1, 3, height, width] in -1..1."""
    pixels = np.asarray(picture.convert("RGB"), np.float32) / 127.5 - 1
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]


class LatentMoments:
    """Mean and log variance of each view's latent distribution: `values[sample]` is float32 [views, 8, h, w] on the
    CPU.

    Samples may differ in shape. One that comes again with the same views is encoded once, and so are views that are
    the same.
    """

    def __init__(
        self, vae: Any, samples: Sequence[Sample], views: Sequence[Sequence[View]], device: torch.device, title: str
    ):
        self.views = views
        self.values: list[torch.Tensor] = []
        self.scale = float(vae.config.scaling_factor)
        known: dict[tuple[Sample, tuple[View, ...]], torch.Tensor] = {}
        pairs = [(sample, tuple(shown)) for sample, shown in zip(samples, views, strict=True)]
        total = sum(len(set(shown)) for _, shown in set(pairs))
        with tqdm(total=total, desc=title, mininterval=1, unit="image") as bar, torch.no_grad():
            for sample, shown in pairs:
                if (sample, shown) not in known:
                    found = {}
                    picture = sample.picture()
                    for view in dict.fromkeys(shown):
                        pixels = read_pixels(view.picture(picture)).to(device, vae.dtype)
                        found[view] = vae.encode(pixels).latent_dist.parameters.float().cpu()
                        bar.update()
                    known[sample, shown] = torch.cat([found[view] for view in shown])
                self.values.append(known[sample, shown])

    def choose_view(self, index: int, generator: torch.Generator) -> int:
        """A random view of a sample, by its number."""
        count = len(self.views[index])
        return int(torch.randint(count, (), generator=generator)) if count > 1 else 0

    def sample(self, index: int, view: int, generator: torch.Generator) -> torch.Tensor:
        """A scaled latent [4, h, w], sampled from the distribution of a sample's view."""
        mean, logvar = self.values[index][view].chunk(2)
        noise = torch.randn(mean.shape, generator=generator)
        return (mean + torch.exp(0.5 * logvar.clamp(-30, 20)) * noise) * self.scale


def plain_views(samples: Sequence[Sample], flip: bool = False) -> list[list[View]]:
    """For each sample the unchanged view, and with `flip` the mirrored one."""
    return [[View(), View(mirrored=True)] if flip else [View()] for _ in samples]


def subject_box(sample: Sample) -> Box:
    """The subject's bounding box in shares of the picture, from its mask; without a mask the middle half."""
    mask = sample.subject()
    if mask is None:
        return (0.25, 0.25, 0.75, 0.75)
    box, sides = subject_pixels(mask), mask.size * 2
    return WHOLE if box is None else cast("Box", tuple(at / side for at, side in zip(box, sides, strict=True)))


class LossMask:
    """Weights of the loss at each place of a latent: 1 on the subject, `background` off it, 1 everywhere without a
    mask.

    `values[sample]` is float32 [views, 1, h, w]; `values` is None if no sample has a mask or `background` is 1.
    """

    def __init__(self, samples: Sequence[Sample], moments: LatentMoments, background: float):
        self.values: list[torch.Tensor] | None = None
        if background == 1 or not any(sample.mask for sample in samples):
            return
        self.values = [
            self._of(sample, views, values, background)
            for sample, views, values in zip(samples, moments.views, moments.values, strict=True)
        ]

    def _of(self, sample: Sample, views: Sequence[View], values: torch.Tensor, background: float) -> torch.Tensor:
        height, width = values.shape[-2:]
        mask = sample.subject()
        if mask is None:
            return torch.ones(len(views), 1, height, width)
        pixels = torch.stack([torch.from_numpy(np.asarray(view.mask(mask), np.float32) / 255)[None] for view in views])
        share = torch.nn.functional.adaptive_avg_pool2d(pixels, (height, width))
        return background + (1 - background) * share

    def of(self, index: int, view: int, like: torch.Tensor) -> torch.Tensor:
        """The weights [1, h, w] for a sample's view, whose latent is `like` [4, h, w]."""
        return torch.ones_like(like[:1]) if self.values is None else self.values[index][view]


def check_masks(samples: Sequence[Sample], background: float) -> None:
    """Refuse photos whose whole picture would weigh nothing in the loss, which is then 0 / 0.

    That happens with `background` 0 where the crop left nothing of the subject.

    Raises:
        MaskError: names every such photo.
    """
    masks = {sample.file.name: sample.mask for sample in samples if background == 0 and sample.mask}
    if empty := [name for name, mask in masks.items() if _is_black(mask)]:
        raise MaskError(black_masks(empty))


def black_masks(photos: Sequence[str]) -> str:
    """What is wrong with photos whose masks show no subject, by name, where the background weighs nothing."""
    return (
        f"train.background_weight is 0, but the masks of {counted(len(photos), 'photo')} show no subject after the "
        f"crop: {', '.join(photos)}. Set train.background_weight above 0, choose another prepare.crop, or remove these "
        "photos"
    )


def _is_black(mask: Path) -> bool:
    with Image.open(mask) as file:
        return file.convert("L").getextrema() == (0, 0)
