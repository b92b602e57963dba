"""Attention on a CPU in mixed precision."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import AttnProcessor2_0
from torch.overrides import TorchFunctionMode


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
