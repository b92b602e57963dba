"""Samples in the order of training, each with its latent, noise, timestep and caption; and batches of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pipeline.training.data import Focus, Moments, Sample
from pipeline.training.randomness import generator_at, index_at


@dataclass(frozen=True)
class Drawn:
    """One sample of a step: latent and noise [4, h, w], timestep, weights of the loss [1, h, w]."""

    latent: torch.Tensor
    noise: torch.Tensor
    timestep: torch.Tensor
    focus: torch.Tensor
    caption: str
    file: str
    is_class: bool


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

    def draw(self, seed: int, step: int, places: range, batch: int, timesteps: int) -> list[Drawn]:
        """The samples at `places` of the effective batch of `batch` at a step; each has random numbers of its own."""
        found = []
        for place in places:
            index = index_at(seed, step * batch + place, self.name, len(self.samples))
            found.append(self._draw(index, generator_at(seed, step, self.name, place), timesteps))
        return found

    def _draw(self, index: int, generator: torch.Generator, timesteps: int) -> Drawn:
        variant = self.moments.variant(index, generator)
        latent = self.moments.draw(index, variant, generator)
        noise = torch.randn(latent.shape, generator=generator)
        if self.offset:
            noise += self.offset * torch.randn(len(noise), 1, 1, generator=generator)
        timestep = torch.randint(timesteps, (), generator=generator)
        return Drawn(
            latent=latent,
            noise=noise,
            timestep=timestep,
            focus=self.focus.of(index, variant, latent) if self.focus else torch.ones_like(latent[:1]),
            caption=self._caption(index, variant, generator),
            file=str(self.samples[index].file),
            is_class=self.name == "class",
        )

    def _caption(self, index: int, variant: int, generator: torch.Generator) -> str:
        dropped, plain = torch.rand(2, generator=generator).tolist()
        if dropped < self.dropout:
            return ""
        if plain < self.plain_share:
            return self.plain[int(plain / self.plain_share * len(self.plain))]
        return self.moments.views[index][variant].caption(self.samples[index].caption)


@dataclass(frozen=True)
class Batch:
    """Samples of one shape: latents and noises [batch, 4, h, w], timesteps [batch], weights of the loss
    [batch, 1, h, w], captions, and which are class samples, [batch].
    """

    latents: torch.Tensor
    noises: torch.Tensor
    timesteps: torch.Tensor
    focus: torch.Tensor
    captions: list[str]
    classes: torch.Tensor

    @classmethod
    def of(cls, drawn: Sequence[Drawn]) -> "Batch":
        """Samples of one shape."""
        return cls(
            latents=torch.stack([one.latent for one in drawn]),
            noises=torch.stack([one.noise for one in drawn]),
            timesteps=torch.stack([one.timestep for one in drawn]),
            focus=torch.stack([one.focus for one in drawn]),
            captions=[one.caption for one in drawn],
            classes=torch.tensor([one.is_class for one in drawn]),
        )

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device; from pinned memory the copy does not wait."""
        if device.type == "cpu":
            return self
        tensors = (self.latents, self.noises, self.timesteps, self.focus, self.classes)
        latents, noises, timesteps, focus, classes = (
            tensor.pin_memory().to(device, non_blocking=True) for tensor in tensors
        )
        return Batch(latents, noises, timesteps, focus, self.captions, classes)


def by_shape(drawn: Sequence[Drawn]) -> list[Batch]:
    """One batch for each shape, in the order of the first sample of each."""
    shapes: dict[torch.Size, list[Drawn]] = {}
    for one in drawn:
        shapes.setdefault(one.latent.shape, []).append(one)
    return [Batch.of(group) for group in shapes.values()]
