"""8-bit AdamW on a CPU, several times faster: bitsandbytes' optimizer and its states, the step in C (eight_bit.c).

On a CPU bitsandbytes codes one value after the other by binary search, which takes nearly as long as a small U-Net's
forward and backward pass. The C file is compiled once on each machine; where there is no C compiler, bitsandbytes
does the step.
"""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bitsandbytes.optim import AdamW8bit

SOURCE = Path(__file__).with_suffix(".c")
FLAGS = [
    *("-O3", "-march=native", "-shared", "-fPIC", "-fno-math-errno", "-fno-trapping-math"),
    *("-ffinite-math-only", "-fno-signed-zeros"),  # so that a compiler may search a block's maximum in parallel
]
CELL = 14  # as in the C file

TENSOR = np.dtype(
    [
        *((name, np.int64) for name in ("count", "wide")),
        *((name, np.uint64) for name in ("gradient", "weight", "state1", "state2", "absmax1", "absmax2")),
        *((name, np.float32) for name in ("keep", "rate", "root", "beta1", "beta2", "epsilon")),
    ],
    align=True,
)


class Codes(ctypes.Structure):
    """The C file's view of a code book."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("values", "above", "lowest")]


@cache
def library() -> ctypes.CDLL | None:
    """The compiled C file, or None where there is no C compiler; says so once."""
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CC", "cc"), "cc", "gcc", "clang"))), None)
    if compiler is None:
        print("no C compiler here: the 8-bit optimizer goes at bitsandbytes' own, slower pace")
        return None
    try:
        return ctypes.CDLL(str(_compiled(compiler)))
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", b"") or str(error).encode()
        print(f"{compiler} could not compile {SOURCE.name}: {said.decode(errors='replace').strip()[-200:]}")
        print("the 8-bit optimizer goes at bitsandbytes' own, slower pace")
        return None


def _compiled(compiler: str) -> Path:
    """The shared library in the user's cache, by its source, compiler and processor."""
    made_of = [SOURCE.read_text(encoding="utf-8"), *FLAGS, compiler, _processor()]
    key = hashlib.sha256("\0".join(made_of).encode()).hexdigest()
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dreamtrace"
    path = folder / f"eight_bit-{key[:16]}.so"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as fresh:
            made = Path(fresh) / path.name
            subprocess.run([compiler, *FLAGS, "-o", made, SOURCE, "-lm"], check=True, capture_output=True)
            made.replace(path)
    return path


def _processor() -> str:
    """What the processor can do: a home folder may be shared by machines of several kinds."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else [platform.processor()]
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())


class CodeBook:
    """256 ascending values in -1..1, and what it takes to find the nearest one of a float without a search.

    All floats that agree in their first 18 bits form a cell. Codes are further apart than a cell is wide, so that two
    at most are nearest to floats of one cell: that of its lowest value, and the next.
    """

    def __init__(self, values: torch.Tensor):
        self.values = values.float().contiguous()
        middles = (self.values[1:] + self.values[:-1]) / 2
        self.above = torch.cat([middles, torch.tensor([torch.finfo(torch.float32).max])])
        first = np.arange(1 << (32 - CELL), dtype=np.uint32) << CELL
        ends = np.stack([first, first | ((1 << CELL) - 1)]).view(np.float32)
        lowest = torch.from_numpy(np.nan_to_num(ends, nan=0.0).min(axis=0))
        self.lowest = torch.searchsorted(middles, lowest).to(torch.uint8)

    def struct(self) -> Codes:
        """Addresses of the tables; they live as long as the book."""
        return Codes(self.values.data_ptr(), self.above.data_ptr(), self.lowest.data_ptr())


class CpuAdamW8bit(AdamW8bit):
    """`bitsandbytes.optim.AdamW8bit` for float32 parameters on a CPU: the same states, the same formula.

    A step differs from bitsandbytes' by the rounding of its last bits, and does not depend on the number of threads.
    """

    def __init__(self, *arguments: Any, **settings: Any):
        super().__init__(*arguments, **settings)
        self.library = library()
        self.fill_qmap()
        self.books = CodeBook(self.name2qmap["dynamic"]), CodeBook(self.name2qmap["udynamic"])
        self.workers = ThreadPoolExecutor(torch.get_num_threads(), "adamw")

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Move every parameter that has a gradient."""
        adamw_step = getattr(self.library, "adamw_step", None)
        if adamw_step is None:
            return super().step(closure)
        loss = None if closure is None else torch.enable_grad()(closure)()
        rows = [
            self._row(group, parameter, index, place)
            for index, group in enumerate(self.param_groups)
            for place, parameter in enumerate(group["params"])
            if parameter.grad is not None
        ]
        tensors = np.array(rows, TENSOR)
        signed, unsigned = (book.struct() for book in self.books)
        parts = torch.get_num_threads()

        def run(part: int) -> None:
            adamw_step(
                ctypes.c_void_p(tensors.ctypes.data),
                ctypes.c_int64(len(rows)),
                ctypes.byref(signed),
                ctypes.byref(unsigned),
                ctypes.c_int64(part),
                ctypes.c_int64(parts),
            )

        list(self.workers.map(run, range(parts)))
        for group in self.param_groups:  # torch does not see what is written behind its back
            torch.autograd.graph.increment_version([p for p in group["params"] if p.grad is not None])
        return loss

    def _row(self, group: dict[str, Any], parameter: torch.nn.Parameter, index: int, place: int) -> tuple[Any, ...]:
        """A parameter as the C file sees it, one step further."""
        assert parameter.grad is not None
        parameter.data, parameter.grad = parameter.data.contiguous(), parameter.grad.contiguous()
        state = self.state[parameter]
        if len(state) == 0:
            self.init_state(group, parameter, index, place)
        state["step"] += 1
        (beta1, beta2), rate = group["betas"], group["lr"]
        wide = state["state1"].dtype == torch.float32
        tensors = [parameter.grad, parameter, state["state1"], state["state2"]]
        tensors += [] if wide else [state["absmax1"], state["absmax2"]]
        addresses = [tensor.data_ptr() for tensor in tensors] + ([0, 0] if wide else [])
        return (
            parameter.numel(),
            wide,
            *addresses,
            1 - rate * group["weight_decay"],
            rate / (1 - beta1 ** state["step"]),
            (1 - beta2 ** state["step"]) ** 0.5,
            beta1,
            beta2,
            group["eps"],
        )
