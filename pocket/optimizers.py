"""The optimizers of pocket's trainings."""

import torch
from torch import nn

from pipeline.training.muon import Muon

BETAS = (0.9, 0.99)
DECAY = 0.01


def make_optimizer(kind: str, model: nn.Module) -> torch.optim.Optimizer:
    """`adamw` or `muon` for all weights of a network, to be used by `take_step`."""
    if kind == "muon":
        group = {"params": list(model.parameters()), "lr": 0.0, "weight_decay": DECAY}
        return Muon([group], betas=BETAS, eps=1e-8)
    return torch.optim.AdamW(model.parameters(), betas=BETAS, weight_decay=DECAY)


def take_step(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Change the weights by their gradients at a learning rate, and forget the gradients."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
