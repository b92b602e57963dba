"""The training objective: pure functions of tensors, one value per sample until the last sum."""

from typing import Any

import torch
import torch.nn.functional as F

from pipeline.errors import UserError

PREDICTION_TYPES = ("epsilon", "v_prediction")


class ObjectiveError(UserError):
    """The base was trained with an objective that this trainer does not have."""


def check_schedule(schedule: Any) -> None:
    """Refuse a base whose U-Net predicts neither the noise nor the velocity.

    Raises:
        ObjectiveError: names the scheduler's `prediction_type`.
    """
    kind = schedule.config.prediction_type
    if kind not in PREDICTION_TYPES:
        raise ObjectiveError(
            f"the base's scheduler has prediction_type '{kind}' (scheduler/scheduler_config.json); this trainer has "
            f"the objectives {' and '.join(PREDICTION_TYPES)}: choose another base"
        )


def training_target(schedule: Any, clean: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
    """What the U-Net should predict, [batch, 4, h, w]: the noise (`epsilon`) or the velocity (`v_prediction`, Salimans
    and Ho 2022, arXiv 2202.00512).
    """
    if schedule.config.prediction_type == "v_prediction":
        return schedule.get_velocity(clean, noise, timesteps)
    return noise


def sample_losses(predicted: torch.Tensor, target: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Mean squared error of each sample in float32, [batch]; with `mask` [batch, 1, h, w] the mean weighted by it,
    whose sum over each sample must be positive.
    """
    errors = F.mse_loss(predicted.float(), target.float(), reduction="none")
    if mask is None:
        return errors.mean(dim=(1, 2, 3))
    errors = errors.mean(dim=1, keepdim=True)
    return (errors * mask).sum(dim=(1, 2, 3)) / mask.sum(dim=(1, 2, 3))


def snr_weights(
    alphas_cumprod: torch.Tensor, timesteps: torch.Tensor, gamma: float | None, prediction_type: str
) -> torch.Tensor:
    """Weight of each sample by its own timestep, [batch]: min(SNR, gamma) / SNR for epsilon, min(SNR, gamma) /
    (SNR + 1) for velocity (Hang et al. 2023, arXiv 2303.09556); ones if gamma is None.

    At zero SNR (schedules rescaled to zero terminal SNR) the weight for epsilon is its limit, 1.
    """
    if gamma is None:
        return torch.ones_like(timesteps, dtype=torch.float32)
    alpha = alphas_cumprod.to(timesteps.device)[timesteps].float()
    snr = alpha / (1 - alpha)
    if prediction_type == "v_prediction":
        return snr.clamp(max=gamma) / (snr + 1)
    return torch.where(snr > 0, snr.clamp(max=gamma) / snr, torch.ones_like(snr))


def dreambooth_loss(
    losses: torch.Tensor, weights: torch.Tensor, classes: torch.Tensor, total: int, prior_weight: float
) -> dict[str, torch.Tensor]:
    """A micro-batch's part of a step's loss: the mean over instance samples plus `prior_weight` times the mean over
    class samples (Ruiz et al. 2022, arXiv 2208.12242).

    The parts of an effective batch sum to the loss of the whole, however it is divided.

    Args:
        losses: [batch].
        weights: [batch].
        classes: which are class samples, bool [batch].
        total: number of instance samples in the effective batch; class samples are as many, or none.
    """
    weighted = losses * weights / total
    instance, prior = weighted[~classes].sum(), weighted[classes].sum()
    return {"loss": instance + prior_weight * prior, "instance_loss": instance, "prior_loss": prior}
