"""Mixed precision: attention on a CPU, and frozen weights kept narrow."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import AttnProcessor2_0
from torch.overrides import TorchFunctionMode

from pipeline.base.components import torch_dtype
from pipeline.params import Train


class Float32Attention(TorchFunctionMode):
    """Compute scaled dot-product attention in float32, whatever precision the layers around it run in.

    On a CPU with bfloat16 instructions matrix products gain from bfloat16, but the backward pass of attention becomes
    several times slower than in float32.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not F.scaled_dot_product_attention or args[0].dtype == torch.float32:
            return func(*args, **kwargs)
        query, key, value, *rest = args
        with torch.autocast(query.device.type, enabled=False):
            return func(query.float(), key.float(), value.float(), *rest, **kwargs).to(query.dtype)


class Float32Processor(AttnProcessor2_0):
    """The layer's own attention in float32, also where gradient checkpointing computes the layer a second time."""

    def __call__(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        with Float32Attention():
            return super().__call__(*args, **kwargs)


def fast_attention(device: str) -> AbstractContextManager[Any]:
    """The context that a forward pass in mixed precision runs in on `device` ("cpu", "cuda")."""
    return Float32Attention() if device == "cpu" else nullcontext()


def prepare_attention(unet: Any, device: str, precision: str) -> None:
    """Give a U-Net's layers the attention that is fast on `device` in `precision`."""
    for module in unet.modules() if device == "cpu" and precision != "fp32" else ():
        if type(getattr(module, "processor", None)) is AttnProcessor2_0:
            module.processor = Float32Processor()


def frozen_precision(params: Train) -> str:
    """The type that frozen weights are kept in; DoRA measures them, and needs them exact."""
    return "fp32" if params.method == "dreambooth-lora" and params.lora.dora else params.precision


class Narrowed:
    """Frozen weights of layers that autocast computes in bf16 or fp16 anyway, kept in that type: the same results from
    half the memory. `restore` puts the exact ones back.
    """

    def __init__(self, modules: Iterable[torch.nn.Module], precision: str):
        self.exact: list[tuple[torch.nn.Parameter, torch.Tensor]] = []
        if precision == "fp32":
            return
        for module in modules:
            for layer in module.modules():
                if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d):
                    self._narrow(layer, torch_dtype(precision))

    def _narrow(self, layer: torch.nn.Module, dtype: torch.dtype) -> None:
        for parameter in layer.parameters(recurse=False):
            if not parameter.requires_grad and parameter.dtype == torch.float32:
                self.exact.append((parameter, parameter.data))
                parameter.data = parameter.data.to(dtype)

    def restore(self) -> None:
        """The weights as they were, on the device that they were on."""
        for parameter, exact in self.exact:
            parameter.data = exact
        self.exact = []
