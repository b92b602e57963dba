"""Tensors that say they are on `pretend:0`, compute on the CPU, and refuse to meet tensors of the CPU.

The device is torch's `PrivateUse1`, in Python. What a CUDA device allows is allowed: numbers (tensors without
dimensions) and index tensors of the CPU may take part, and `copy_` and `to` cross the border. Everything else fails as
it does there: a tensor on the wrong device, a product of two types outside of autocast, `numpy()`. Setting
`parameter.data` to a tensor of the CPU, which CUDA allows and which fails at the next use, fails at once.

Import this before the first backward pass of a process: torch makes its threads for all devices then.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from tests.pretend.memory import MEMORY

NAME = "pretend"
CROSSES = {"copy_", "_to_copy", "_copy_from"}
INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}


class Backend:
    """What torch asks of a device's module; the device is there while a test uses it."""

    available = False

    @staticmethod
    def is_available() -> bool:
        return Backend.available

    @staticmethod
    def is_initialized() -> bool:
        return True

    @staticmethod
    def current_device() -> int:
        return 0

    @staticmethod
    def device_count() -> int:
        return 1

    @staticmethod
    def _is_in_bad_fork() -> bool:
        return False

    @staticmethod
    def manual_seed_all(seed: int) -> None:
        """It has no random numbers of its own."""

    @staticmethod
    def get_amp_supported_dtype() -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    @staticmethod
    def synchronize(device: Any = None) -> None:
        """Nothing runs beside the program."""

    @staticmethod
    def mem_get_info(device: Any = None) -> tuple[int, int]:
        """Free bytes and all."""
        whole = MEMORY.limit if MEMORY.limit is not None else 1 << 40
        return whole - MEMORY.live, whole

    @staticmethod
    def empty_cache() -> None:
        """Nothing is kept."""


class PretendTensor(torch.Tensor):
    """A tensor on `pretend:0`; `raw` is the tensor of the CPU with its numbers."""

    raw: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, raw: torch.Tensor) -> "PretendTensor":
        place = {"strides": raw.stride(), "storage_offset": raw.storage_offset(), "dtype": raw.dtype}
        with torch.inference_mode(False):  # torch cannot make views of an inference tensor of another class
            made = torch.Tensor._make_wrapper_subclass(cls, raw.shape, device=DEVICE, **place)
        made.raw = raw
        return made

    @property
    def data(self) -> Any:
        return torch.Tensor.data.__get__(self)

    @data.setter
    def data(self, value: torch.Tensor) -> None:
        if not isinstance(value, PretendTensor):
            raise RuntimeError(f"the data of a tensor on {DEVICE} was replaced by a tensor on {value.device}")
        torch.Tensor.data.__set__(self, value)
        self.raw = value.raw

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"PretendTensor({self.raw!r})"

    def pin_memory(self, device: Any = None) -> torch.Tensor:
        raise RuntimeError("only tensors of the CPU can be pinned")

    def tolist(self) -> Any:
        return self.raw.tolist()

    def data_ptr(self) -> int:
        return self.raw.data_ptr()

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.raw.untyped_storage()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = func._schema.name.partition("::")[2]
        if name not in CROSSES:
            _check_devices(name, args, kwargs)
        device = kwargs.get("device")
        if device is not None:
            kwargs["device"] = torch.device("cpu")
        found = func(*_raw(args), **{key: _raw(value) for key, value in kwargs.items()})
        if not func._schema.returns:
            return None
        if kwargs.get("out") is not None:
            return kwargs["out"]
        if name.endswith("_") and not name.endswith("__") and args:
            return args[0]
        if device is not None and torch.device(device).type == "cpu":
            return found
        return wrap(found)


def _raw(value: Any) -> Any:
    """Arguments of an operator with the tensors of the CPU in place of those on `pretend:0`."""
    if isinstance(value, PretendTensor):
        return value.raw
    return type(value)(map(_raw, value)) if isinstance(value, list | tuple) else value


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _tensors(one)


def wrap(value: Any) -> Any:
    """Tensors of the CPU, in lists and tuples too, as tensors on `pretend:0`; anything else as it is.

    Raises:
        torch.OutOfMemoryError: it does not fit into `MEMORY`.
    """
    if isinstance(value, list | tuple):
        return type(value)(map(wrap, value))
    if not isinstance(value, torch.Tensor) or isinstance(value, PretendTensor):
        return value
    MEMORY.track(value)
    return PretendTensor(value)


def _check_devices(name: str, args: Any, kwargs: Any) -> None:
    """Refuse tensors of the CPU beside tensors on `pretend:0`, as CUDA does."""
    checked = (args[0], args[2:]) if name in INDEXED else (args, list(kwargs.values()))
    tensors = list(_tensors(checked))
    far = any(isinstance(tensor, PretendTensor) for tensor in tensors)
    if far and any(not isinstance(tensor, PretendTensor) and tensor.dim() > 0 for tensor in tensors):
        found = sorted({str(tensor.device) for tensor in tensors})
        raise RuntimeError(f"{name}: expected all tensors to be on the same device, found {', '.join(found)}")


def _empty(size: Any, dtype: Any = None, layout: Any = None, device: Any = None, pin_memory: Any = None,
           memory_format: Any = None) -> torch.Tensor:  # fmt: skip
    return wrap(torch.empty(size, dtype=dtype, device="cpu", memory_format=memory_format or torch.contiguous_format))


def _empty_strided(size: Any, stride: Any, dtype: Any = None, layout: Any = None, device: Any = None,
                   pin_memory: Any = None) -> torch.Tensor:  # fmt: skip
    return wrap(torch.empty_strided(size, stride, dtype=dtype, device="cpu"))


def _to_copy(tensor: torch.Tensor, dtype: Any = None, layout: Any = None, device: Any = None, pin_memory: Any = None,
             non_blocking: bool = False, memory_format: Any = None) -> torch.Tensor:  # fmt: skip
    made = torch.ops.aten._to_copy(_raw(tensor), dtype=dtype, memory_format=memory_format)
    stays = device is None and isinstance(tensor, PretendTensor)
    return wrap(made) if stays or (device is not None and torch.device(device).type == NAME) else made


def _attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attn_mask: Any = None,
               dropout_p: float = 0.0, is_causal: bool = False, scale: Any = None, enable_gqa: bool = False
               ) -> torch.Tensor:  # fmt: skip
    """Attention in one kernel, as CUDA has it: no matrix of all pairs is ever held."""
    return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, dropout_p, is_causal, attn_mask=attn_mask, scale=scale
    )[0]


_setup_privateuseone_for_python_backend(NAME, Backend())
DEVICE = torch.device(f"{NAME}:0")
LIBRARY = torch.library.Library("aten", "IMPL")
for _name, _function in {"empty.memory_format": _empty, "empty_strided": _empty_strided, "_to_copy": _to_copy}.items():
    LIBRARY.impl(_name, _function, "PrivateUse1")
LIBRARY.impl("scaled_dot_product_attention", _attention, "AutogradPrivateUse1")
