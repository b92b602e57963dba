"""`torch.autocast("pretend")`: products and convolutions in the low type, norms and losses in float32, as on CUDA."""

from typing import Any

import torch

from tests.pretend.tensor import LIBRARY, NAME

LOW = (
    "_convolution", "addbmm", "addmm", "baddbmm", "bmm", "conv2d", "linear", "matmul", "mm", "mv",
    "scaled_dot_product_attention",
)  # fmt: skip
FLOAT = (
    "cumsum", "exp", "group_norm", "layer_norm", "log", "mse_loss", "native_group_norm", "native_layer_norm",
    "pow.Scalar", "pow.Tensor_Scalar", "pow.Tensor_Tensor", "prod", "rsqrt", "softmax.int", "sum", "sum.dim_IntList",
)  # fmt: skip
OFF = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)


def _casting(name: str, low: bool) -> Any:
    packet, _, overload = name.partition(".")
    function = getattr(getattr(torch.ops.aten, packet), overload or "default")

    def called(*args: Any, **kwargs: Any) -> Any:
        dtype = torch.get_autocast_dtype(NAME) if low else torch.float32

        def cast(value: Any) -> Any:
            castable = isinstance(value, torch.Tensor) and value.is_floating_point() and value.device.type == NAME
            return value.to(dtype) if castable else value

        with torch._C._ExcludeDispatchKeyGuard(OFF):
            return function(*map(cast, args), **{key: cast(value) for key, value in kwargs.items()})

    return called


OTHERS = torch.library.Library("_", "IMPL")
OTHERS.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
for _names, _low in ((LOW, True), (FLOAT, False)):
    for _name in _names:
        LIBRARY.impl(_name, _casting(_name, _low), "AutocastPrivateUse1")
