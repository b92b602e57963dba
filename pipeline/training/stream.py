"""Samples in training order, each with latent, noise, timestep and caption, and their collation into batches."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pipeline.training.data import LatentMoments, LossMask, Sample
from pipeline.training.randomness import generator_at, index_at


@dataclass(frozen=True)
class StepSample:
    """One sample of a step: latent and noise [4, h, w], timestep [], loss weights [1, h, w]."""

    latent: torch.Tensor
    noise: torch.Tensor
    timestep: torch.Tensor
    loss_mask: torch.Tensor
    caption: str
    file: str
    is_class: bool


@dataclass(frozen=True)
class Stream:
    """The instance samples or the class samples in training order; `name` gives each stream its own random numbers.

    Args:
        dropout: share of captions that are replaced by the empty one.
        offset: standard deviation of noise that is constant over each channel (offset noise).
        plain: captions that contain the subject's name alone.
        plain_share: share of the captions that are not left out, which one of `plain` replaces.
        names: words of captions that stay as they are in a mirrored view, even where they contain left or right.
    """

    name: str
    samples: Sequence[Sample]
    moments: LatentMoments
    dropout: float = 0.0
    loss_mask: LossMask | None = None
    offset: float = 0.0
    plain: tuple[str, ...] = ()
    plain_share: float = 0.0
    names: tuple[str, ...] = ()

    def samples_at(self, seed: int, step: int, positions: range, batch: int, timesteps: int) -> list[StepSample]:
        """The samples at `positions` (within the effective batch of `batch`) of a step; each has its own random
        numbers.
        """
        found = []
        for position in positions:
            index = index_at(seed, step * batch + position, self.name, len(self.samples))
            found.append(self._sample(index, generator_at(seed, step, self.name, position), timesteps))
        return found

    def captions(self) -> list[str]:
        """The captions of all samples in all their views."""
        pairs = zip(self.samples, self.moments.views, strict=True)
        return [view.caption(sample.caption, self.names) for sample, views in pairs for view in views]

    def _sample(self, index: int, generator: torch.Generator, timesteps: int) -> StepSample:
        view = self.moments.choose_view(index, generator)
        latent = self.moments.sample(index, view, generator)
        noise = torch.randn(latent.shape, generator=generator)
        if self.offset:
            noise += self.offset * torch.randn(len(noise), 1, 1, generator=generator)
        timestep = torch.randint(timesteps, (), generator=generator)
        return StepSample(
            latent=latent,
            noise=noise,
            timestep=timestep,
            loss_mask=self.loss_mask.of(index, view, latent) if self.loss_mask else torch.ones_like(latent[:1]),
            caption=self._caption(index, view, generator),
            file=str(self.samples[index].file),
            is_class=self.name == "class",
        )

    def _caption(self, index: int, view: int, generator: torch.Generator) -> str:
        dropped, plain = torch.rand(2, generator=generator).tolist()
        if dropped < self.dropout:
            return ""
        if plain < self.plain_share:
            return self.plain[int(plain / self.plain_share * len(self.plain))]
        return self.moments.views[index][view].caption(self.samples[index].caption, self.names)


@dataclass(frozen=True)
class Batch:
    """Samples of one shape: latents and noises [batch, 4, h, w], timesteps [batch], loss weights [batch, 1, h, w],
    captions, and which of them are class samples, bool [batch].
    """

    latents: torch.Tensor
    noises: torch.Tensor
    timesteps: torch.Tensor
    loss_masks: torch.Tensor
    captions: list[str]
    classes: torch.Tensor

    @classmethod
    def collate(cls, samples: Sequence[StepSample]) -> "Batch":
        """Samples of one shape as a batch."""
        return cls(
            latents=torch.stack([sample.latent for sample in samples]),
            noises=torch.stack([sample.noise for sample in samples]),
            timesteps=torch.stack([sample.timestep for sample in samples]),
            loss_masks=torch.stack([sample.loss_mask for sample in samples]),
            captions=[sample.caption for sample in samples],
            classes=torch.tensor([sample.is_class for sample in samples]),
        )

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device; the copy is asynchronous, from pinned memory."""
        if device.type == "cpu":
            return self
        tensors = (self.latents, self.noises, self.timesteps, self.loss_masks, self.classes)
        latents, noises, timesteps, loss_masks, classes = (
            tensor.pin_memory().to(device, non_blocking=True) for tensor in tensors
        )
        return Batch(latents, noises, timesteps, loss_masks, self.captions, classes)


def collate_by_shape(samples: Sequence[StepSample]) -> list[Batch]:
    """One batch for each shape, in the order of each shape's first sample."""
    shapes: dict[torch.Size, list[StepSample]] = {}
    for sample in samples:
        shapes.setdefault(sample.latent.shape, []).append(sample)
    return [Batch.collate(group) for group in shapes.values()]
