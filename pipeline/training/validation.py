"""The loss on photos that training does not see, at noise that never changes."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from pipeline.training.data import Moments, Sample
from pipeline.training.objective import sample_losses, training_target
from pipeline.training.randomness import generator_at

LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)  # shares of the schedule
BATCH = 8


class Validation:
    """Held-out photos, each with the same latent and noise at every level, whatever step asks."""

    def __init__(self, photos: Sequence[Sample], moments: Moments, seed: int):
        self.captions = [photo.caption for photo in photos for _ in LEVELS]
        self.latents, self.noises = [], []
        for index in range(len(photos)):
            for level in range(len(LEVELS)):
                generator = generator_at(seed, "validation", index, level)
                self.latents.append(moments.draw(index, 0, generator))
                self.noises.append(torch.randn(self.latents[-1].shape, generator=generator))

    @torch.no_grad()
    def loss(self, stepper: Any) -> float:
        """Mean squared error over photos and levels, unweighted."""
        levels = [int(share * len(stepper.alphas)) for share in LEVELS] * (len(self.latents) // len(LEVELS))
        return float(torch.cat([self._losses(stepper, part, levels) for part in self._parts()]).mean())

    def _parts(self) -> Iterator[list[int]]:
        """Places of latents of one shape, at most `BATCH` at once."""
        shapes: dict[torch.Size, list[int]] = {}
        for place, latent in enumerate(self.latents):
            shapes.setdefault(latent.shape, []).append(place)
        for places in shapes.values():
            yield from (places[at : at + BATCH] for at in range(0, len(places), BATCH))

    def _losses(self, stepper: Any, part: list[int], levels: list[int]) -> torch.Tensor:
        latents, noises = (
            torch.stack([kept[place] for place in part]).to(stepper.device) for kept in (self.latents, self.noises)
        )
        timesteps = torch.tensor([levels[place] for place in part], device=stepper.device)
        noisy = stepper.schedule.add_noise(latents, noises, timesteps)
        with stepper.accelerator.autocast():
            states = stepper.captions.states([self.captions[place] for place in part])
        predicted = stepper.predict(stepper.unet, noisy, timesteps, states)
        return sample_losses(predicted, training_target(stepper.schedule, latents, noises, timesteps))
