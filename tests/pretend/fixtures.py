"""The fixture `gpu`: a real GPU where there is one, else the pretend device."""

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch

if not torch.cuda.is_available():
    import tests.pretend.tensor  # noqa: F401  (before any test's backward pass, see there)

USES_BEST_DEVICE = ("pipeline.sampling.sampler", "pipeline.evaluation.backbones", "pipeline.evaluation.perceptual")


@dataclass(frozen=True)
class Gpu:
    """The device that a test marked `gpu` runs on."""

    device: torch.device
    limit: Callable[[int | None], None]  # bytes; None takes the limit away
    start_peak: Callable[[], None]
    peak: Callable[[], int]
    live: Callable[[], int]

    @property
    def real(self) -> bool:
        return self.device.type == "cuda"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    """Training, drawing and judging on a GPU, as on a machine that has one."""
    if torch.cuda.is_available():
        yield _real()
        torch.cuda.set_per_process_memory_fraction(1.0)
        return
    from accelerate.state import AcceleratorState, PartialState

    from tests.pretend.memory import MEMORY
    from tests.pretend.tensor import DEVICE, Backend

    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)  # a moved parameter is the same object, as on CUDA
    _install(monkeypatch, DEVICE)
    Backend.available = True
    gc.collect()  # what earlier tests left in cycles is not this one's
    MEMORY.limit, MEMORY.peak = None, MEMORY.live
    try:
        yield Gpu(DEVICE, MEMORY.set_limit, MEMORY.start_peak, lambda: MEMORY.peak, lambda: MEMORY.live)
    finally:
        MEMORY.limit, Backend.available = None, False
        torch.__future__.set_swap_module_params_on_conversion(before)
        AcceleratorState._reset_state()
        PartialState._reset_state()


def _real() -> Gpu:
    def limit(size: int | None) -> None:
        whole = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(1.0 if size is None else min(1.0, size / whole))

    torch_says = torch.cuda.reset_peak_memory_stats, torch.cuda.max_memory_allocated, torch.cuda.memory_allocated
    return Gpu(torch.device("cuda:0"), limit, *torch_says)


def _install(monkeypatch: pytest.MonkeyPatch, device: torch.device) -> None:
    """Put the pretend device where the project asks for a GPU."""
    from accelerate.state import PartialState

    import tests.pretend.autocast  # noqa: F401  (registers it)
    from pipeline.training import distributed, training_loop

    make = distributed.make_accelerator

    def make_accelerator(params: Any) -> Any:
        half = params.precision == "fp16"  # accelerate refuses it before it knows the device
        accelerator = make(params.model_copy(update={"precision": "bf16"}) if half else params)
        PartialState._shared_state["device"] = accelerator.state.device = device
        if half:
            accelerator.state._mixed_precision = "fp16"
            accelerator.scaler = torch.amp.GradScaler(device.type)
        return accelerator

    monkeypatch.setattr(training_loop, "make_accelerator", make_accelerator)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor, device=None: tensor)
    for name in USES_BEST_DEVICE:
        monkeypatch.setattr(f"{name}.best_device", lambda: device.type, raising=False)
