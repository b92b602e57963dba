"""8-bit AdamW on a CPU, several times faster: bitsandbytes' optimizer and its states, the step in C (eight_bit.c).

On a CPU bitsandbytes codes one value after the other by binary search, which takes nearly as long as a small U-Net's
forward and backward pass. Where there is no C compiler, bitsandbytes does the step.
"""

import ctypes
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bitsandbytes.optim import AdamW8bit

from pipeline.training.native_library import compiled
from pipeline.training.precision import NarrowCopies

SOURCE = Path(__file__).with_suffix(".c")
FLAGS = ("-ffinite-math-only", "-fno-signed-zeros")  # so that a compiler may search a block's maximum in parallel
BLOCK, CELL = 256, 16  # as in the C file
MASK = (1 << CELL) - 1

TENSOR = np.dtype(
    [
        *((name, np.int64) for name in ("count", "wide", "narrow")),
        *((name, np.uint64) for name in ("gradient", "weight", "copy", "state1", "state2", "absmax1", "absmax2")),
        *((name, np.float32) for name in ("keep", "rate", "root", "beta1", "beta2", "epsilon", "scale")),
    ],
    align=True,
)
PLACES = ("wide", "weight", "copy", "state1", "state2", "absmax1", "absmax2")
NUMBERS = ("keep", "rate", "root", "beta1", "beta2", "epsilon")


class Codes(ctypes.Structure):
    """The C file's view of a code book."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("values", "cells")]


@lru_cache
def _factors(beta1: float, beta2: float, rate: float, decay: float, epsilon: float, step: int) -> tuple[float, ...]:
    """Of AdamW, see `NUMBERS`; most parameters share them."""
    return 1 - rate * decay, rate / (1 - beta1**step), (1 - beta2**step) ** 0.5, beta1, beta2, epsilon


class CodeBook:
    """256 ascending values in -1..1, and what it takes to find the nearest one of a float without a search.

    All floats that agree in their first 16 bits form a cell. Codes are further apart than a cell is wide, so that two
    at most are nearest to floats of one cell: that of its lowest value, and the next.
    """

    def __init__(self, values: torch.Tensor):
        self.values = values.float().contiguous()
        middles = ((self.values[1:] + self.values[:-1]) / 2).numpy()
        first = np.arange(1 << (32 - CELL), dtype=np.uint32) << CELL
        ends = np.stack([first, first | MASK]).view(np.float32)
        code = np.searchsorted(middles, np.nan_to_num(ends, nan=0.0).min(axis=0)).astype(np.uint32)
        reach = np.full_like(code, MASK)  # of the lowest code: the whole cell, or up to a middle within
        edges = middles[np.minimum(code, len(middles) - 1)].view(np.uint32)
        within = (edges >> CELL == first >> CELL) & (code < len(middles))
        reach[within] = (np.where(edges >> 31, ~edges, edges) & MASK)[within]  # negative floats count downwards
        self.cells = torch.from_numpy((code << CELL | reach).view(np.int32))

    def codes(self, values: torch.Tensor) -> torch.Tensor:
        """Nearest codes of floats in -1..1, found as the C file finds them."""
        bits = values.numpy().view(np.uint32)
        cells = self.cells.numpy().view(np.uint32)[bits >> CELL]
        inside = np.where(bits >> 31, ~bits, bits) & MASK
        return torch.from_numpy(((cells >> CELL) + (inside > (cells & MASK))).astype(np.int64))

    def struct(self) -> Codes:
        """Addresses of the tables; they live as long as the book."""
        return Codes(self.values.data_ptr(), self.cells.data_ptr())


class CpuAdamW8bit(AdamW8bit):
    """`bitsandbytes.optim.AdamW8bit` for float32 parameters on a CPU: the same states, the same formula.

    A step differs from bitsandbytes' by the rounding of its last bits, and does not depend on the number of threads.
    Where `in_c`, gradients may be bfloat16, and the bfloat16 `copies` of weights follow them.
    """

    def __init__(self, *arguments: Any, **settings: Any):
        super().__init__(*arguments, **settings)
        self.adamw = getattr(compiled(SOURCE, *FLAGS), "adamw", None)
        self.fill_qmap()
        self.books = CodeBook(self.name2qmap["dynamic"]), CodeBook(self.name2qmap["udynamic"])
        self.copies = NarrowCopies([])
        self.scale = 1.0

    @property
    def in_c(self) -> bool:
        """Whether the step is done in C, or else by bitsandbytes."""
        return self.adamw is not None

    def clip_gradients(self, limit: float) -> torch.Tensor:
        """Norm of all gradients together; where it is above `limit`, the next step takes them smaller by that much.

        As `torch.nn.utils.clip_grad_norm_`, but that gradients stay as they are.
        """
        if not self.in_c:
            return torch.nn.utils.clip_grad_norm_([parameter for _, parameter in self._moving()], limit)
        tensors = self._table([parameter for _, parameter in self._moving()])
        sums = np.zeros(int((-(-tensors["count"] // BLOCK)).sum()), np.float32)
        self._run(tensors, sums)
        norm = torch.tensor(float(sums.sum(dtype=np.float64)) ** 0.5)
        self.scale = min(1.0, limit / (float(norm) + 1e-6))
        return norm

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Move every parameter that has a gradient."""
        if not self.in_c:
            return super().step(closure)
        loss = None if closure is None else torch.enable_grad()(closure)()
        moving = list(self._moving())
        parameters = [parameter for _, parameter in moving]
        tensors = self._table(parameters)
        rows = [self._row(group, parameter) + self._numbers(group, parameter) for group, parameter in moving]
        for name, column in zip(PLACES + NUMBERS, zip(*rows, strict=True), strict=bool(rows)):
            tensors[name] = column
        tensors["scale"], self.scale = self.scale, 1.0
        self._run(tensors, None)
        torch.autograd.graph.increment_version(parameters)  # torch does not see what is written behind its back
        self.copies.written(parameters)
        return loss

    def _moving(self) -> Iterator[tuple[dict[str, Any], torch.nn.Parameter]]:
        for group in self.param_groups:
            yield from ((group, parameter) for parameter in group["params"] if parameter.grad is not None)

    def _table(self, parameters: list[torch.nn.Parameter]) -> Any:
        """Parameters as the C file sees them, with their gradients so far."""
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
        """Where the C file finds what belongs to a parameter: see `PLACES`."""
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
        """The step's factors for a parameter, one step further: see `NUMBERS`."""
        state = self.state[parameter]
        state["step"] += 1
        return _factors(*group["betas"], group["lr"], group["weight_decay"], group["eps"], state["step"])

    def _run(self, tensors: Any, sums: Any) -> None:
        """Call the C function."""
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
