"""The optimizers of pocket's trainings, and what of them a killed training needs to go on."""

import torch
from torch import nn

Tensors = dict[str, torch.Tensor]
BETAS = (0.9, 0.99)
DECAY = 0.01


class AdamW:
    """AdamW for all weights of a network."""

    def __init__(self, model: nn.Module):
        self.parts: list[torch.optim.Optimizer] = [adamw(list(model.parameters()))]

    def step(self, rate: float) -> None:
        """Change the weights by their gradients at a learning rate, and forget the gradients."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = rate
            part.step()
            part.zero_grad(set_to_none=True)

    def moments(self, weight: nn.Parameter) -> Tensors:
        """What is kept of the gradients of a weight, to read and to update; empty before the first step."""
        return self.parts[0].state[weight]


class Muon(AdamW):
    """Muon for weights of two and more dimensions, as matrices [out, all else]; AdamW for biases and norms.

    Muon makes the singular values of a matrix's step alike (K. Jordan, "Muon: an optimizer for hidden layers", 2024).
    Its steps are scaled to the size of AdamW's, so that one rate serves both (arXiv 2502.16982, section 2.2).
    """

    def __init__(self, model: nn.Module):
        self.matrices = {one: one.detach().view(len(one), -1) for one in model.parameters() if one.ndim > 1}
        of_matrices = list(self.matrices.values())
        muon = torch.optim.Muon(of_matrices, weight_decay=DECAY, adjust_lr_fn="match_rms_adamw")
        self.parts = [muon, adamw([one for one in model.parameters() if one.ndim < 2])]

    def step(self, rate: float) -> None:
        """Change the weights by their gradients at a learning rate, and forget the gradients."""
        for weight, matrix in self.matrices.items():
            matrix.grad = None if weight.grad is None else weight.grad.reshape(matrix.shape)
            weight.grad = None
        super().step(rate)

    def moments(self, weight: nn.Parameter) -> Tensors:
        """What is kept of the gradients of a weight, to read and to update; empty before the first step."""
        matrix = self.matrices.get(weight)
        return self.parts[1].state[weight] if matrix is None else self.parts[0].state[matrix]


def adamw(weights: list[nn.Parameter]) -> torch.optim.AdamW:
    """AdamW whose rate is set at each step."""
    return torch.optim.AdamW(weights, betas=BETAS, weight_decay=DECAY)


OPTIMIZERS = {"adamw": AdamW, "muon": Muon}
