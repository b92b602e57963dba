"""U-Nets between the base and a tuned model: base + strength * (tuned - base)."""

import copy
from typing import Any

import torch


class UnetBlend:
    """The U-Nets of one tuned model at different strengths; each is made when it is first asked for.

    Args:
        tuned: the tuned U-Net; it stays as it is.
        base: the base's U-Net, of the same architecture, on the same device.

    Raises:
        ValueError: the two have different tensors.
    """

    def __init__(self, tuned: Any, base: Any):
        self.made: dict[float, Any] = {1.0: tuned, 0.0: base}
        self.tuned = dict(tuned.named_parameters())
        self.base = dict(base.named_parameters())
        shapes = [{name: tuple(tensor.shape) for name, tensor in part.items()} for part in (self.tuned, self.base)]
        if shapes[0] != shapes[1]:
            raise ValueError("the U-Nets of the tuned model and the base differ in their tensors")

    @torch.no_grad()
    def at(self, strength: float) -> Any:
        """The U-Net at a strength: 0 the base, 1 the tuned model, more beyond it."""
        if strength not in self.made:
            mixed = copy.deepcopy(self.made[1.0])
            for name, parameter in mixed.named_parameters():
                base = self.base[name].float()
                parameter.copy_(base + strength * (self.tuned[name].float() - base))
            self.made[strength] = mixed
        return self.made[strength]
