"""Instance and class samples: their VAE moments encoded once, by sample and mirror image, and their batches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from pipeline.training.randomness import generator_at, indices_at


@dataclass(frozen=True)
class Sample:
    """A square picture of the training size, and what is said of it."""

    file: Path
    caption: str
    mask: Path | None = None  # white where the subject is


def read_pixels(file: Path, flip: bool) -> torch.Tensor:
    """A picture as float32 [1, 3, side, side] in -1..1."""
    with Image.open(file) as picture:
        pixels = np.asarray(picture.convert("RGB"), np.float32) / 127.5 - 1
    if flip:
        pixels = pixels[:, ::-1]
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]


class Moments:
    """Mean and logarithm of the variance of each sample's latent distribution, [samples, variants, 8, h, w]."""

    def __init__(self, vae: Any, samples: Sequence[Sample], flip: bool, device: torch.device, title: str):
        variants = (False, True) if flip else (False,)
        jobs = [(sample, mirrored) for sample in samples for mirrored in variants]
        found = []
        with torch.no_grad():
            for sample, mirrored in tqdm(jobs, desc=title, mininterval=1, unit="image"):
                pixels = read_pixels(sample.file, mirrored).to(device, vae.dtype)
                found.append(vae.encode(pixels).latent_dist.parameters.float().cpu())
        shape = found[0].shape[1:]
        self.values = torch.cat(found).reshape(len(samples), len(variants), *shape)
        self.scale = float(vae.config.scaling_factor)

    def variant(self, generator: torch.Generator) -> int:
        """Which variant of a sample is shown."""
        variants = self.values.shape[1]
        return int(torch.randint(variants, (), generator=generator)) if variants > 1 else 0

    def draw(self, index: int, variant: int, generator: torch.Generator) -> torch.Tensor:
        """A latent of sample `index`, [4, h, w]: a point of its distribution, drawn afresh."""
        mean, logvar = self.values[index, variant].chunk(2)
        noise = torch.randn(mean.shape, generator=generator)
        return (mean + torch.exp(0.5 * logvar.clamp(-30, 20)) * noise) * self.scale


class Focus:
    """Weights of the loss over each latent: 1 on the subject, `background` beside it; ones without a mask.

    `values` is float32 [samples, variants, 1, h, w] like the moments', None where nothing is weighted.
    """

    def __init__(self, samples: Sequence[Sample], moments: Moments, background: float):
        self.values: torch.Tensor | None = None
        if background == 1 or not any(sample.mask for sample in samples):
            return
        _, variants, _, height, width = moments.values.shape
        self.values = torch.ones(len(samples), variants, 1, height, width)
        for index, sample in enumerate(samples):
            if sample.mask:
                share = torch.nn.functional.adaptive_avg_pool2d(read_mask(sample.mask)[None], (height, width))[0]
                weights = background + (1 - background) * share
                self.values[index] = torch.stack([weights, weights.flip(-1)][:variants])

    def of(self, index: int, variant: int, like: torch.Tensor) -> torch.Tensor:
        """The weights of a sample whose latent is `like`, [1, h, w]."""
        return torch.ones_like(like[:1]) if self.values is None else self.values[index, variant]


def read_mask(file: Path) -> torch.Tensor:
    """A mask as float32 [1, side, side] in 0..1."""
    with Image.open(file) as picture:
        return torch.from_numpy(np.asarray(picture.convert("L"), np.float32) / 255)[None]


@dataclass(frozen=True)
class Stream:
    """One kind of sample in the order of training; `name` separates its random numbers from the other's."""

    name: str
    samples: Sequence[Sample]
    moments: Moments
    dropout: float = 0.0
    focus: Focus | None = None
    offset: float = 0.0  # share of noise that is the same all over a channel
    plain: tuple[str, ...] = ()  # captions that name the subject alone
    plain_share: float = 0.0

    def draw(self, seed: int, step: int, places: range, batch: int, timesteps: int) -> "Batch":
        """The samples at `places` of the effective batch of `batch` at a step; each has random numbers of its own."""
        indices = indices_at(seed, step * batch + places.start, len(places), self.name, len(self.samples))
        latents, noises, times, captions, focus = [], [], [], [], []
        for place, index in zip(places, indices, strict=True):
            generator = generator_at(seed, step, self.name, place)
            variant = self.moments.variant(generator)
            latents.append(self.moments.draw(index, variant, generator))
            focus.append(self.focus.of(index, variant, latents[-1]) if self.focus else torch.ones_like(latents[-1][:1]))
            noises.append(torch.randn(latents[-1].shape, generator=generator))
            if self.offset:
                noises[-1] += self.offset * torch.randn(len(noises[-1]), 1, 1, generator=generator)
            times.append(torch.randint(timesteps, (), generator=generator))
            captions.append(self._caption(index, generator))
        files = [str(self.samples[index].file) for index in indices]
        return Batch(torch.stack(latents), torch.stack(noises), torch.stack(times), torch.stack(focus), captions, files)

    def _caption(self, index: int, generator: torch.Generator) -> str:
        dropped, plain = torch.rand(2, generator=generator).tolist()
        if dropped < self.dropout:
            return ""
        if plain < self.plain_share:
            return self.plain[int(plain / self.plain_share * len(self.plain))]
        return self.samples[index].caption


@dataclass(frozen=True)
class Batch:
    """Latents and noises [batch, 4, h, w], timesteps [batch], weights of the loss [batch, 1, h, w], captions, files."""

    latents: torch.Tensor
    noises: torch.Tensor
    timesteps: torch.Tensor
    focus: torch.Tensor
    captions: list[str]
    files: list[str]

    def __add__(self, other: "Batch") -> "Batch":
        return Batch(
            torch.cat([self.latents, other.latents]),
            torch.cat([self.noises, other.noises]),
            torch.cat([self.timesteps, other.timesteps]),
            torch.cat([self.focus, other.focus]),
            self.captions + other.captions,
            self.files + other.files,
        )


class Captions:
    """Captions turned into hidden states; those that training cannot change are computed once."""

    def __init__(
        self,
        tokenizer: Any,
        text_encoder: Any,
        device: torch.device,
        changes: Callable[[list[int]], bool],
        expand: Callable[[str], str] = str,
    ):
        self.tokenizer, self.text_encoder, self.device = tokenizer, text_encoder, device
        self.changes, self.expand = changes, expand
        self.kept: dict[str, torch.Tensor] = {}

    def states(self, captions: list[str]) -> torch.Tensor:
        """Hidden states [batch, length, hidden], with gradients where a learned part has a share in them."""
        ids = {caption: self._ids(caption) for caption in dict.fromkeys(captions)}
        live = [caption for caption in ids if self.changes(ids[caption])]
        found = dict(self.kept)
        for caption in ids:
            if caption not in live and caption not in self.kept:
                with torch.no_grad():
                    self.kept[caption] = found[caption] = self._encode([ids[caption]])[0]
        if live:
            found |= dict(zip(live, self._encode([ids[caption] for caption in live]), strict=True))
        return torch.stack([found[caption] for caption in captions])

    def _ids(self, caption: str) -> list[int]:
        length = self.tokenizer.model_max_length
        caption = self.expand(caption)
        return list(self.tokenizer(caption, padding="max_length", max_length=length, truncation=True).input_ids)

    def _encode(self, ids: list[list[int]]) -> torch.Tensor:
        return self.text_encoder(torch.tensor(ids, device=self.device)).last_hidden_state
