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

    def draw(self, index: int, generator: torch.Generator) -> torch.Tensor:
        """A latent of sample `index`, [4, h, w]: a variant and a point of its distribution, drawn afresh."""
        variants = self.values.shape[1]
        variant = int(torch.randint(variants, (), generator=generator)) if variants > 1 else 0
        mean, logvar = self.values[index, variant].chunk(2)
        noise = torch.randn(mean.shape, generator=generator)
        return (mean + torch.exp(0.5 * logvar.clamp(-30, 20)) * noise) * self.scale


@dataclass(frozen=True)
class Stream:
    """One kind of sample in the order of training; `name` separates its random numbers from the other's."""

    name: str
    samples: Sequence[Sample]
    moments: Moments
    dropout: float = 0.0

    def draw(self, seed: int, step: int, places: range, batch: int, timesteps: int) -> "Batch":
        """The samples at `places` of the effective batch of `batch` at a step; each has random numbers of its own."""
        indices = indices_at(seed, step * batch + places.start, len(places), self.name, len(self.samples))
        latents, noises, times, captions = [], [], [], []
        for place, index in zip(places, indices, strict=True):
            generator = generator_at(seed, step, self.name, place)
            latents.append(self.moments.draw(index, generator))
            noises.append(torch.randn(latents[-1].shape, generator=generator))
            times.append(torch.randint(timesteps, (), generator=generator))
            dropped = float(torch.rand((), generator=generator)) < self.dropout
            captions.append("" if dropped else self.samples[index].caption)
        files = [str(self.samples[index].file) for index in indices]
        return Batch(torch.stack(latents), torch.stack(noises), torch.stack(times), captions, files)


@dataclass(frozen=True)
class Batch:
    """Latents and noises [batch, 4, h, w], timesteps [batch], captions and the files they come from."""

    latents: torch.Tensor
    noises: torch.Tensor
    timesteps: torch.Tensor
    captions: list[str]
    files: list[str]

    def __add__(self, other: "Batch") -> "Batch":
        return Batch(
            torch.cat([self.latents, other.latents]),
            torch.cat([self.noises, other.noises]),
            torch.cat([self.timesteps, other.timesteps]),
            self.captions + other.captions,
            self.files + other.files,
        )


class Captions:
    """Captions turned into hidden states; those that training cannot change are computed once."""

    def __init__(self, tokenizer: Any, text_encoder: Any, device: torch.device, changes: Callable[[list[int]], bool]):
        self.tokenizer, self.text_encoder, self.device, self.changes = tokenizer, text_encoder, device, changes
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
        return list(self.tokenizer(caption, padding="max_length", max_length=length, truncation=True).input_ids)

    def _encode(self, ids: list[list[int]]) -> torch.Tensor:
        return self.text_encoder(torch.tensor(ids, device=self.device)).last_hidden_state
