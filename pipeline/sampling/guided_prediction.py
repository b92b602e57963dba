"""What a U-Net predicts with guidance: the arithmetic of one step for one prompt."""

from collections.abc import Sequence
from typing import Any

import torch

from pipeline.sampling.control import Guiding
from pipeline.sampling.recipe import Recipe
from pipeline.sampling.reference import Referring


def guided(
    recipe: Recipe,
    unet: Any,
    free_unet: Any,
    latents: torch.Tensor,
    time: Any,
    branches: Sequence[Any],
    scale: float,
    guiding: Guiding | None = None,
    referring: Referring | None = None,
) -> torch.Tensor:
    """Classifier-free guidance, without what points to `avoid`, and rescaled.

    At a guidance of 1 that is the prompt's own prediction, and where nothing is to be avoided no other branch is asked:
    the same pass, and the same bits, as a pipeline of diffusers draws by.

    Args:
        free_unet: draws the branch without the prompt; None: `unet` does.
        branches: states of no prompt, of the prompt and, where the recipe has one, of `avoid`.
        scale: the guidance.
        guiding: what adds to the U-Net's layers.
        referring: what the U-Nets were adapted with, where they take after a reference picture.
    """
    more = guiding, referring
    if scale == 1 and not recipe.avoid:
        return _call(unet, latents, time, branches[1:2], 0, *more)[0]
    if free_unet is None:
        free = _call(unet, latents, time, branches, 1, *more)
    else:
        free = _call(free_unet, latents, time, branches[:1], 1, *more)
        free += _call(unet, latents, time, branches[1:], 0, *more)
    towards = free[1] - free[0]
    moved = towards
    if recipe.avoid:
        moved = towards - recipe.avoid_weight * perpendicular(free[2] - free[0], towards)
    found = free[0] + scale * moved
    return rescaled(found, free[1], recipe.rescale) if recipe.rescale > 0 else found


def perpendicular(vector: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
    """The part of `vector` [pictures, ...] at right angles to `direction`, picture by picture.

    Perp-Neg (Armandpour et al. 2023, arXiv 2304.04968): what is to be avoided is taken away only as far as it does not
    point where the prompt points.
    """
    axes = tuple(range(1, vector.ndim))
    along = (vector * direction).sum(axes, keepdim=True) / (direction * direction).sum(axes, keepdim=True).clamp_min(
        1e-12
    )
    return vector - along * direction


def rescaled(guided: torch.Tensor, prompt: torch.Tensor, share: float) -> torch.Tensor:
    """`guided` with its standard deviation moved by `share` towards that of the prompt's own prediction.

    Lin et al. 2023, arXiv 2305.08891, section 3.4: it undoes the overexposure of strong guidance.
    """
    axes = tuple(range(1, guided.ndim))
    factor = prompt.std(axes, keepdim=True) / guided.std(axes, keepdim=True)
    return guided * (share * factor + (1 - share))


def _call(
    unet: Any,
    latents: torch.Tensor,
    time: Any,
    branches: Sequence[torch.Tensor],
    free: int,
    guiding: Guiding | None,
    referring: Referring | None,
) -> list[torch.Tensor]:
    """The U-Net's predictions for every branch in one call; the first `free` branches have no prompt."""
    together, states = torch.cat([latents] * len(branches)), torch.cat(list(branches))
    added = guiding(together, time, states) if guiding is not None else {}
    if referring is not None:
        added |= referring.arguments(free * len(latents), len(together))
    found = unet(together, time, encoder_hidden_states=states, return_dict=False, **added)[0]
    return list(found.chunk(len(branches)))
