"""What training minimises: pure functions of tensors, one value per sample until the very end."""

from typing import Any

import torch
import torch.nn.functional as F


def training_target(schedule: Any, clean: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
    """What the U-Net should predict: the noise (epsilon) or the velocity (v), [batch, 4, h, w]."""
    if schedule.config.prediction_type == "v_prediction":
        return schedule.get_velocity(clean, noise, timesteps)
    return noise


def sample_losses(predicted: torch.Tensor, target: torch.Tensor, focus: torch.Tensor | None = None) -> torch.Tensor:
    """Mean squared error of each sample in float32, [batch]; with `focus` [batch, 1, h, w] the mean weighted by it."""
    errors = F.mse_loss(predicted.float(), target.float(), reduction="none")
    if focus is None:
        return errors.mean(dim=(1, 2, 3))
    errors = errors.mean(dim=1, keepdim=True)
    return (errors * focus).sum(dim=(1, 2, 3)) / focus.sum(dim=(1, 2, 3))


def snr_weights(
    alphas_cumprod: torch.Tensor, timesteps: torch.Tensor, gamma: float | None, prediction_type: str
) -> torch.Tensor:
    """Weight of each sample by its own timestep, [batch]: min(SNR, gamma) / SNR for epsilon, min(SNR, gamma) /
    (SNR + 1) for velocity (Hang et al. 2023, arXiv 2303.09556); ones where gamma is None.
    """
    if gamma is None:
        return torch.ones_like(timesteps, dtype=torch.float32)
    alpha = alphas_cumprod.to(timesteps.device)[timesteps].float()
    snr = alpha / (1 - alpha)
    divisor = snr + 1 if prediction_type == "v_prediction" else snr
    return snr.clamp(max=gamma) / divisor


def dreambooth_loss(
    losses: torch.Tensor, weights: torch.Tensor, classes: torch.Tensor, total: int, prior_weight: float
) -> dict[str, torch.Tensor]:
    """The share of some samples in a step's loss: the mean over the instance samples plus `prior_weight` times the
    mean over the class samples (Ruiz et al. 2022, arXiv 2208.12242).

    Losses of the parts of an effective batch add up to that of the whole, whatever the parts.

    Args:
        losses: [batch]; `weights` [batch] too.
        classes: which are class samples, bool [batch].
        total: instance samples in the whole effective batch; there are as many class samples, or none.
    """
    weighted = losses * weights / total
    instance, prior = weighted[~classes].sum(), weighted[classes].sum()
    return {"loss": instance + prior_weight * prior, "instance_loss": instance, "prior_loss": prior}
