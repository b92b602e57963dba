"""U-Nets between the base and a tuned model, with what further models learned added to them."""

import copy
from collections.abc import Sequence
from typing import Any

import torch


class UnetBlend:
    """The U-Nets of one tuned model: base + strength * (tuned - base) + the sum of weight * (other - base).

    Each is made when it is first asked for. For LoRA layers the last sum is what loading them with these weights gives.

    Args:
        tuned: the tuned U-Net; it stays as it is.
        base: the base's U-Net, of the same architecture, on the same device.
        added: weights and U-Nets of further models.

    Raises:
        ValueError: the U-Nets have different tensors.
    """

    def __init__(self, tuned: Any, base: Any, added: Sequence[tuple[float, Any]] = ()):
        self.base_unet, self.tuned_unet, self.added = base, tuned, list(added)
        self.made: dict[float, Any] = {} if added else {1.0: tuned, 0.0: base}
        self.base = dict(base.named_parameters())
        for unet in (tuned, *(other for _, other in added)):
            if _shapes(dict(unet.named_parameters())) != _shapes(self.base):
                raise ValueError("the U-Nets of the tuned model and the base differ in their tensors")

    @torch.no_grad()
    def at(self, strength: float) -> Any:
        """The U-Net at a strength: 0 the base, 1 the tuned model, more beyond it."""
        if strength not in self.made:
            mixed = copy.deepcopy(self.tuned_unet)
            others = [(weight, dict(unet.named_parameters())) for weight, unet in self.added]
            for name, parameter in mixed.named_parameters():
                base, found = self.base[name].float(), parameter.float().clone()
                if strength != 1:
                    found = base + strength * (found - base)
                for weight, other in others:
                    found += weight * (other[name].float() - base)
                parameter.copy_(found)
            self.made[strength] = mixed
        return self.made[strength]


def _shapes(parameters: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in parameters.items()}
