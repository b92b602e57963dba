"""Mixed precision without casting in every step: frozen weights stored in the compute type, trainable ones with a
low-precision copy.
"""

from collections.abc import Iterable, Iterator
from types import TracebackType

import torch

from pipeline.base.components import torch_dtype
from pipeline.params import Train


def frozen_precision(params: Train) -> str:
    """The type in which frozen weights are stored; DoRA computes norms of them and needs float32."""
    return "fp32" if params.method == "dreambooth-lora" and params.lora.dora else params.precision


def _autocast_weights(modules: Iterable[torch.nn.Module]) -> Iterator[torch.nn.Parameter]:
    """The float32 weights that autocast would cast in every step."""
    for module in modules:
        for layer in module.modules():
            if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d):
                yield from (p for p in layer.parameters(recurse=False) if p.dtype == torch.float32)


def narrow_frozen_weights(modules: Iterable[torch.nn.Module], precision: str) -> int:
    """Cast frozen weights once to the type in which autocast computes anyway: same results, half the memory.

    Their float32 values are gone: an export takes what nothing learned from the base's files. Returns how many were
    cast.
    """
    if precision == "fp32":
        return 0
    frozen = [parameter for parameter in _autocast_weights(modules) if not parameter.requires_grad]
    for parameter in frozen:
        parameter.data = parameter.data.to(torch_dtype(precision))
    return len(frozen)


class LowPrecisionCopies:
    """bfloat16 copies of trainable weights whose layers autocast computes in bfloat16 anyway.

    Inside the context layers compute with the copies and gradients are bfloat16; outside, parameters are float32 master
    weights. The results are those of autocast, which makes the same casts in every step, in both directions. An
    optimizer that takes such gradients may update the copies itself (`mark_current` records that); copies whose
    parameters were changed by anything else are cast again on entry.
    """

    def __init__(self, modules: Iterable[torch.nn.Module]):
        self.copies = {
            parameter: parameter.detach().to(torch.bfloat16)
            for parameter in _autocast_weights(modules)
            if parameter.requires_grad
        }
        self.versions = {parameter: parameter._version for parameter in self.copies}
        self.master_weights: list[torch.Tensor] = []
        self.accumulated: list[torch.Tensor | None] = []
        for parameter in self.copies:
            parameter.grad_dtype = None  # allows a gradient of another type than the parameter's

    def get(self, parameter: torch.nn.Parameter) -> torch.Tensor | None:
        """The copy of a parameter, or None."""
        return self.copies.get(parameter)

    def mark_current(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Record that the copies of these parameters are up to date."""
        self.versions |= {parameter: parameter._version for parameter in parameters if parameter in self.copies}

    def __enter__(self) -> None:
        stale = [parameter for parameter in self.copies if self.versions[parameter] != parameter._version]
        for parameter in stale:
            self.copies[parameter].copy_(parameter.detach())
        self.mark_current(stale)
        self.master_weights = [parameter.data for parameter in self.copies]
        self.accumulated = [parameter.grad for parameter in self.copies]
        for parameter, copy in self.copies.items():
            parameter.grad = None
            parameter.data = copy

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for parameter, master, earlier in zip(self.copies, self.master_weights, self.accumulated, strict=True):
            parameter.data = master
            if earlier is not None:  # gradients of earlier micro-batches: the sum is kept in float32
                new = parameter.grad
                parameter.grad = earlier if new is None else earlier.float() + new
        self.master_weights, self.accumulated = [], []
