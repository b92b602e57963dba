"""Attention on a CPU in mixed precision."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode


class Float32Attention(TorchFunctionMode):
    """Compute scaled dot-product attention in float32, whatever precision the layers around it run in.

    On a CPU with bfloat16 instructions matrix products gain from bfloat16, but the backward pass of attention becomes
    several times slower than in float32. The mode covers a backward pass too: gradient checkpointing computes there
    again what it computed before, and must come to the same.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.Tensor.backward:  # of a loss; inside this method the mode is off
            with Float32Attention():
                return torch.autograd.backward(args[0])
        if func is not F.scaled_dot_product_attention or args[0].dtype == torch.float32:
            return func(*args, **kwargs)
        query, key, value, *rest = args
        with torch.autocast(query.device.type, enabled=False):
            return func(query.float(), key.float(), value.float(), *rest, **kwargs).to(query.dtype)


def fast_attention(device: str) -> AbstractContextManager[Any]:
    """The context that a forward pass in mixed precision runs in on `device` ("cpu", "cuda")."""
    return Float32Attention() if device == "cpu" else nullcontext()
