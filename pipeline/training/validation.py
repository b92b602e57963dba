"""The loss on held-out photos, with the same noise every time."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from pipeline.training.data import LatentMoments, Sample
from pipeline.training.objective import sample_losses, training_target
from pipeline.training.randomness import generator_at

if TYPE_CHECKING:
    from pipeline.training.steps import Stepper

LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)  # timesteps, as shares of the noise schedule
BATCH = 8


class Validation:
    """Held-out photos, each with a fixed latent and a fixed noise at every noise level.

    `batch` samples are computed at once, fewer from then on when GPU memory runs out.
    """

    def __init__(self, photos: Sequence[Sample], moments: LatentMoments, seed: int):
        self.batch = BATCH
        self.captions = [photo.caption for photo in photos for _ in LEVELS]
        self.latents, self.noises = [], []
        for index in range(len(photos)):
            for level in range(len(LEVELS)):
                generator = generator_at(seed, "validation", index, level)
                self.latents.append(moments.sample(index, 0, generator))
                self.noises.append(torch.randn(self.latents[-1].shape, generator=generator))

    @torch.no_grad()
    def loss(self, stepper: "Stepper") -> float:
        """Mean squared error over photos and noise levels, without min-SNR or mask weights.

        Raises:
            torch.OutOfMemoryError: even one sample does not fit.
        """
        levels = [int(share * len(stepper.alphas)) for share in LEVELS] * (len(self.latents) // len(LEVELS))
        while True:
            try:
                return float(torch.cat([self._losses(stepper, part, levels) for part in self._batches()]).mean())
            except torch.OutOfMemoryError:
                if self.batch == 1:
                    raise
                self.batch = (self.batch + 1) // 2
                torch.cuda.empty_cache()

    def _batches(self) -> Iterator[list[int]]:
        """Indices of latents of one shape, at most `batch` at once."""
        shapes: dict[torch.Size, list[int]] = {}
        for index, latent in enumerate(self.latents):
            shapes.setdefault(latent.shape, []).append(index)
        for indices in shapes.values():
            yield from (indices[at : at + self.batch] for at in range(0, len(indices), self.batch))

    def _losses(self, stepper: "Stepper", part: list[int], levels: list[int]) -> torch.Tensor:
        latents, noises = (
            torch.stack([values[index] for index in part]).to(stepper.device) for values in (self.latents, self.noises)
        )
        timesteps = torch.tensor([levels[index] for index in part], device=stepper.device)
        noisy = stepper.schedule.add_noise(latents, noises, timesteps)
        with stepper.accelerator.autocast():
            states = stepper.captions.encode([self.captions[index] for index in part])
        predicted = stepper.predict(stepper.unet, noisy, timesteps, states)
        return sample_losses(predicted, training_target(stepper.schedule, latents, noises, timesteps))
