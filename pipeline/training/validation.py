"""The loss on photos that training does not see, at noise that never changes."""

from collections.abc import Sequence
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
        latents, noises = [], []
        for index in range(len(photos)):
            for level in range(len(LEVELS)):
                generator = generator_at(seed, "validation", index, level)
                latents.append(moments.draw(index, 0, generator))
                noises.append(torch.randn(latents[-1].shape, generator=generator))
        self.latents, self.noises = torch.stack(latents), torch.stack(noises)

    @torch.no_grad()
    def loss(self, stepper: Any) -> float:
        """Mean squared error over photos and levels, unweighted."""
        steps = len(stepper.alphas)
        levels = torch.tensor([int(share * steps) for share in LEVELS]).repeat(len(self.latents) // len(LEVELS))
        found = []
        for at in range(0, len(levels), BATCH):
            part = slice(at, at + BATCH)
            latents, noises = self.latents[part].to(stepper.device), self.noises[part].to(stepper.device)
            timesteps = levels[part].to(stepper.device)
            noisy = stepper.schedule.add_noise(latents, noises, timesteps)
            with stepper.accelerator.autocast():
                states = stepper.captions.states(self.captions[part])
            predicted = stepper.predict(stepper.unet, noisy, timesteps, states)
            found.append(sample_losses(predicted, training_target(stepper.schedule, latents, noises, timesteps)))
        return float(torch.cat(found).mean())
