"""A fast step of 8-bit AdamW on a CPU: bitsandbytes' optimizer with its states, and the step in C (eight_bit.c).

On a CPU bitsandbytes quantises each value by binary search, which takes nearly as long as a small U-Net's forward and
backward pass. Without a C compiler bitsandbytes does the step.
"""

import ctypes
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bitsandbytes.optim import AdamW8bit

from pipeline.training.native_library import load_library
from pipeline.training.precision import LowPrecisionCopies

SOURCE = Path(__file__).with_suffix(".c")
FLAGS = ("-ffinite-math-only", "-fno-signed-zeros")  # allow the compiler to vectorise the maximum of a block
BLOCK, CELL = 256, 16  # must equal those of the C file
MASK = (1 << CELL) - 1

TENSOR = np.dtype(
    [
        *((name, np.int64) for name in ("count", "wide", "narrow")),
        *((name, np.uint64) for name in ("gradient", "weight", "copy", "state1", "state2", "absmax1", "absmax2")),
        *((name, np.float32) for name in ("keep", "rate", "root", "beta1", "beta2", "epsilon", "scale")),
    ],
    align=True,
)
ADDRESSES = ("wide", "weight", "copy", "state1", "state2", "absmax1", "absmax2")
NUMBERS = ("keep", "rate", "root", "beta1", "beta2", "epsilon")


class Codes(ctypes.Structure):
    """A code book in the C file's layout."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("values", "cells")]


@lru_cache
def _factors(beta1: float, beta2: float, rate: float, decay: float, epsilon: float, step: int) -> tuple[float, ...]:
    """AdamW's factors in the order of `NUMBERS`; cached, because most parameters share them."""
    return 1 - rate * decay, rate / (1 - beta1**step), (1 - beta2**step) ** 0.5, beta1, beta2, epsilon


class CodeBook:
    """256 ascending values in -1..1, with a table that gives the nearest value's code of a float without a search.

    All floats that agree in their first 16 bits form a cell. Neighbouring values are further apart than a cell is wide,
    so that the floats of a cell have at most two codes: that of its lowest float, and the next one.
    """

    def __init__(self, values: torch.Tensor):
        self.values = values.float().contiguous()
        middles = ((self.values[1:] + self.values[:-1]) / 2).numpy()
        first = np.arange(1 << (32 - CELL), dtype=np.uint32) << CELL
        ends = np.stack([first, first | MASK]).view(np.float32)
        code = np.searchsorted(middles, np.nan_to_num(ends, nan=0.0).min(axis=0)).astype(np.uint32)
        reach = np.full_like(code, MASK)  # of the lowest code: to the cell's end, or a midpoint within
        edges = middles[np.minimum(code, len(middles) - 1)].view(np.uint32)
        within = (edges >> CELL == first >> CELL) & (code < len(middles))
        reach[within] = (np.where(edges >> 31, ~edges, edges) & MASK)[within]  # bits of negative floats count down
        self.cells = torch.from_numpy((code << CELL | reach).view(np.int32))

    def struct(self) -> Codes:
        """The addresses of the tables, valid as long as this object."""
        return Codes(self.values.data_ptr(), self.cells.data_ptr())


class CpuAdamW8bit(AdamW8bit):
    """`bitsandbytes.optim.AdamW8bit` for float32 parameters on a CPU, with the same states and the same formula.

    A step differs from that of bitsandbytes by rounding in the last bits; it does not depend on the number of threads.
    If `in_c`, gradients may be bfloat16, and the step also updates the bfloat16 `copies` of the weights.
    """

    def __init__(self, *arguments: Any, **settings: Any):
        super().__init__(*arguments, **settings)
        self.adamw = getattr(load_library(SOURCE, *FLAGS), "adamw", None)
        self.fill_qmap()
        self.books = CodeBook(self.name2qmap["dynamic"]), CodeBook(self.name2qmap["udynamic"])
        self.copies = LowPrecisionCopies([])
        self.scale = 1.0

    @property
    def in_c(self) -> bool:
        """Whether the step is done in C rather than by bitsandbytes."""
        return self.adamw is not None

    def clip_gradients(self, limit: float) -> torch.Tensor:
        """Global norm of the gradients; if it is above `limit`, the next step scales them down to it.

        Like `torch.nn.utils.clip_grad_norm_`, but the gradients themselves are not changed.
        """
        if not self.in_c:
            return torch.nn.utils.clip_grad_norm_([parameter for _, parameter in self._with_gradient()], limit)
        tensors = self._table([parameter for _, parameter in self._with_gradient()])
        sums = np.zeros(int((-(-tensors["count"] // BLOCK)).sum()), np.float32)
        self._run(tensors, sums)
        norm = torch.tensor(float(sums.sum(dtype=np.float64)) ** 0.5)
        self.scale = min(1.0, limit / (float(norm) + 1e-6))
        return norm

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Update every parameter that has a gradient."""
        if not self.in_c:
            return super().step(closure)
        loss = None if closure is None else torch.enable_grad()(closure)()
        updated = list(self._with_gradient())
        parameters = [parameter for _, parameter in updated]
        tensors = self._table(parameters)
        rows = [self._row(group, parameter) + self._numbers(group, parameter) for group, parameter in updated]
        for name, column in zip(ADDRESSES + NUMBERS, zip(*rows, strict=True), strict=bool(rows)):
            tensors[name] = column
        tensors["scale"], self.scale = self.scale, 1.0
        self._run(tensors, None)
        torch.autograd.graph.increment_version(parameters)  # torch does not notice writes from C
        self.copies.mark_current(parameters)
        return loss

    def _with_gradient(self) -> Iterator[tuple[dict[str, Any], torch.nn.Parameter]]:
        for group in self.param_groups:
            yield from ((group, parameter) for parameter in group["params"] if parameter.grad is not None)

    def _table(self, parameters: list[torch.nn.Parameter]) -> Any:
        """The parameters in the C file's layout, filled with the addresses of their gradients."""
        gradients = []
        for parameter in parameters:
            assert parameter.grad is not None
            if not parameter.grad.is_contiguous():
                parameter.grad = parameter.grad.contiguous()
            gradients.append(parameter.grad)
        tensors = np.zeros(len(gradients), TENSOR)
        tensors["count"] = [gradient.numel() for gradient in gradients]
        tensors["narrow"] = [gradient.dtype == torch.bfloat16 for gradient in gradients]
        tensors["gradient"] = [gradient.data_ptr() for gradient in gradients]
        return tensors

    def _row(self, group: dict[str, Any], parameter: torch.nn.Parameter) -> tuple[int, ...]:
        """The addresses of a parameter's weight, copy and states, in the order of `ADDRESSES`."""
        if not parameter.is_contiguous():
            parameter.data = parameter.data.contiguous()
        state = self.state[parameter]
        if not state:
            self.init_state(group, parameter, 0, 0)
        wide = "absmax1" not in state
        copy = self.copies.get(parameter)
        scales = (0, 0) if wide else (state["absmax1"].data_ptr(), state["absmax2"].data_ptr())
        places = parameter.data_ptr(), 0 if copy is None else copy.data_ptr()
        return wide, *places, state["state1"].data_ptr(), state["state2"].data_ptr(), *scales

    def _numbers(self, group: dict[str, Any], parameter: torch.nn.Parameter) -> tuple[float, ...]:
        """Advance a parameter's step count and return its factors, in the order of `NUMBERS`."""
        state = self.state[parameter]
        state["step"] += 1
        return _factors(*group["betas"], group["lr"], group["weight_decay"], group["eps"], state["step"])

    def _run(self, tensors: Any, sums: Any) -> None:
        """Call the C function: a step, or with `sums` the sums of squares of each block of gradients."""
        assert self.adamw is not None
        signed, unsigned = (ctypes.byref(book.struct()) for book in self.books)
        self.adamw(
            ctypes.c_void_p(tensors.ctypes.data),
            ctypes.c_int64(len(tensors)),
            signed,
            unsigned,
            ctypes.c_void_p(None if sums is None else sums.ctypes.data),
            ctypes.c_int64(torch.get_num_threads()),
        )
