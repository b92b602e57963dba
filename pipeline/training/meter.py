"""The figures of a training run: means since the last row, smoothed losses, and losses by noise level."""

import math
import re
import resource
import time
from pathlib import Path
from typing import Any

import torch

BANDS = 4  # of equal width, over the timesteps
SMOOTHING = 0.98


class Meter:
    """Accumulates losses on the device and reads them only when a row is due, so that no step waits for the host.

    Each of several `processes` has a meter, which sees its share of the photos. `device` is the one that trains.
    """

    def __init__(self, timesteps: int, device: torch.device, processes: int = 1):
        self.width, self.device, self.processes = timesteps // BANDS, device, processes
        self.totals: list[dict[str, torch.Tensor]] = []
        self.samples: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.norms: list[torch.Tensor] = []
        self.smooth: dict[str, float] = {}
        self.began = time.monotonic()
        self.photos = 0

    def add_losses(self, totals: dict[str, torch.Tensor], losses: torch.Tensor, timesteps: torch.Tensor) -> None:
        """Add one step: its mean losses by name, and the losses and timesteps of its instance samples, both [batch]."""
        self.totals.append({name: value.detach() for name, value in totals.items()})
        self.samples.append((losses.detach(), timesteps))
        self.photos += len(losses) * self.processes

    def add_gradient_norm(self, value: Any) -> None:
        """Add a step's gradient norm before clipping."""
        self.norms.append(torch.as_tensor(value).detach())

    def first_nonfinite_step(self, gradients: bool) -> tuple[int, str] | None:
        """The first step since the last row, counted from 0, whose loss (or gradient norm, with `gradients`) is not
        finite, and the name of that figure; None if there is none.
        """
        if not self.totals:
            return None
        figures = {"loss": [totals["loss"] for totals in self.totals]} | ({"gradient": self.norms} if gradients else {})
        found = [
            (index, name)
            for name, values in figures.items()
            for index, value in enumerate(_read(values))
            if not math.isfinite(value)
        ]
        return min(found, key=lambda one: one[0], default=None)

    def close_row(self, step: int, rates: dict[str, float]) -> dict[str, float]:
        """The row of `step`, from all that was added since the last one.

        Columns: `step`, mean losses, `smooth_loss`, `loss_t<from>` for each band of timesteps, `gradient_norm`,
        learning rates, `images_per_second` (of all processes), `memory_gb` (10^9 bytes).
        """
        names = self.totals[0].keys()
        means = {name: _mean([one[name] for one in self.totals]) for name in names}
        losses = torch.cat([losses.float().cpu() for losses, _ in self.samples])
        bands = torch.cat([timesteps.cpu() for _, timesteps in self.samples]) // self.width
        self._smoothed("smooth_loss", means["loss"], len(self.totals))
        for band in range(BANDS):
            inside = losses[bands == band]
            self._smoothed(f"loss_t{band * self.width}", float(inside.mean()) if len(inside) else None, len(inside))
        now = time.monotonic()
        row = {"step": step, **means, **{name: self.smooth.get(name, means["loss"]) for name in self._columns()}}
        row["gradient_norm"] = _mean(self.norms)
        row |= rates
        row["images_per_second"] = round(self.photos / max(now - self.began, 1e-9), 2)
        row["memory_gb"] = round(peak_memory(self.device), 3)
        self.totals, self.samples, self.norms, self.photos, self.began = [], [], [], 0, now
        return row

    def state_dict(self) -> dict[str, Any]:
        """What was added since the last row, and the smoothed losses, as JSON values."""
        return {
            "smooth": self.smooth,
            "totals": [{name: float(value) for name, value in one.items()} for one in self.totals],
            "samples": [[losses.tolist(), timesteps.tolist()] for losses, timesteps in self.samples],
            "norms": [float(norm) for norm in self.norms],
        }

    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Load the result of `state_dict`."""
        self.smooth = dict(values["smooth"])
        self.totals = [{name: torch.tensor(value) for name, value in one.items()} for one in values["totals"]]
        self.samples = [(torch.tensor(losses), torch.tensor(timesteps)) for losses, timesteps in values["samples"]]
        self.norms = [torch.tensor(norm) for norm in values["norms"]]

    def _columns(self) -> list[str]:
        return ["smooth_loss", *(f"loss_t{band * self.width}" for band in range(BANDS))]

    def _smoothed(self, name: str, value: float | None, count: int) -> None:
        if value is not None:
            keep = SMOOTHING**count if name in self.smooth else 0.0
            self.smooth[name] = keep * self.smooth.get(name, 0.0) + (1 - keep) * value


def _mean(values: list[torch.Tensor]) -> float:
    return float(torch.stack([value.float().cpu() for value in values]).mean())


def _read(values: list[torch.Tensor]) -> list[float]:
    """Scalars of one or two devices, read with one transfer for each."""
    found: dict[int, float] = {}
    for device in {value.device for value in values}:
        places = [place for place, value in enumerate(values) if value.device == device]
        found |= dict(zip(places, torch.stack([values[place].float() for place in places]).tolist(), strict=True))
    return [found[place] for place in range(len(values))]


def peak_memory(device: torch.device) -> float:
    """Peak memory of this process in 10^9 bytes: allocated by torch on a GPU, or resident in RAM for a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    peak = peak_resident("self")
    return peak if peak is not None else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def peak_resident(process: int | str) -> float | None:
    """Peak resident memory of a running process (`"self"` or its id) in 10^9 bytes; None where the kernel does not
    report it.

    `ru_maxrss` will not do for a child: it starts from the memory of the process that started it.
    """
    try:
        found = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{process}/status").read_text())
    except OSError:
        return None
    return int(found[1]) * 1024 / 1e9 if found else None
