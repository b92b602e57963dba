"""Weights in the type that autocast computes with anyway: frozen ones kept in it, learned ones with a copy in it."""

from collections.abc import Iterable, Iterator
from types import TracebackType

import torch

from pipeline.base.components import torch_dtype
from pipeline.params import Train


def frozen_precision(params: Train) -> str:
    """The type that frozen weights are kept in; DoRA measures them, and needs them exact."""
    return "fp32" if params.method == "dreambooth-lora" and params.lora.dora else params.precision


def _cast_weights(modules: Iterable[torch.nn.Module]) -> Iterator[torch.nn.Parameter]:
    """The float32 weights that autocast casts in every step."""
    for module in modules:
        for layer in module.modules():
            if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d):
                yield from (p for p in layer.parameters(recurse=False) if p.dtype == torch.float32)


class Narrowed:
    """Frozen weights of layers that autocast computes in bf16 or fp16 anyway, kept in that type: the same results from
    half the memory. `restore` puts the exact ones back.
    """

    def __init__(self, modules: Iterable[torch.nn.Module], precision: str):
        self.exact: list[tuple[torch.nn.Parameter, torch.Tensor]] = []
        if precision == "fp32":
            return
        for parameter in _cast_weights(modules):
            if not parameter.requires_grad:
                self.exact.append((parameter, parameter.data))
                parameter.data = parameter.data.to(torch_dtype(precision))

    def restore(self) -> None:
        """The weights as they were, on the device that they were on."""
        for parameter, exact in self.exact:
            parameter.data = exact
        self.exact = []


class NarrowCopies:
    """bfloat16 copies of learned weights of layers that autocast computes in bfloat16 anyway.

    Within the context layers compute with the copies, and gradients come out in bfloat16; outside, parameters are
    float32 as ever. The results are those of autocast, which makes the same casts in every step, both ways. An
    optimizer that takes such gradients may write the copies itself (`written` says so); others are followed.
    """

    def __init__(self, modules: Iterable[torch.nn.Module]):
        self.copies = {
            parameter: parameter.detach().to(torch.bfloat16)
            for parameter in _cast_weights(modules)
            if parameter.requires_grad
        }
        self.versions = {parameter: parameter._version for parameter in self.copies}
        self.exact: list[torch.Tensor] = []
        self.earlier: list[torch.Tensor | None] = []
        for parameter in self.copies:
            parameter.grad_dtype = None  # its gradient may have another type than itself

    def get(self, parameter: torch.nn.Parameter) -> torch.Tensor | None:
        """The copy of a parameter, if it has one."""
        return self.copies.get(parameter)

    def written(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """The copies of these are up to date."""
        self.versions |= {parameter: parameter._version for parameter in parameters if parameter in self.copies}

    def __enter__(self) -> None:
        stale = [parameter for parameter in self.copies if self.versions[parameter] != parameter._version]
        for parameter in stale:
            self.copies[parameter].copy_(parameter.detach())
        self.written(stale)
        self.exact = [parameter.data for parameter in self.copies]
        self.earlier = [parameter.grad for parameter in self.copies]
        for parameter, copy in self.copies.items():
            parameter.grad = None
            parameter.data = copy

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for parameter, exact, earlier in zip(self.copies, self.exact, self.earlier, strict=True):
            parameter.data = exact
            if earlier is not None:  # of the batch's parts before: sums are kept in float32
                new = parameter.grad
                parameter.grad = earlier if new is None else earlier.float() + new
        self.exact, self.earlier = [], []
