"""What a training run tells of itself: means since the last row, smoothed and per noise level."""

import re
import resource
import time
from pathlib import Path
from typing import Any

import torch

BANDS = 4
SMOOTHING = 0.98


class Meter:
    """Gathers losses on the device and reads them only when a row is due, so that no step waits for the host."""

    def __init__(self, timesteps: int):
        self.width = timesteps // BANDS
        self.totals: list[dict[str, torch.Tensor]] = []
        self.samples: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.norms: list[torch.Tensor] = []
        self.smooth: dict[str, float] = {}
        self.began = time.monotonic()
        self.photos = 0

    def count(self, totals: dict[str, torch.Tensor], losses: torch.Tensor, timesteps: torch.Tensor) -> None:
        """Add a step's losses (already means over its effective batch), and those of its instance samples."""
        self.totals.append({name: value.detach() for name, value in totals.items()})
        self.samples.append((losses.detach(), timesteps))
        self.photos += len(losses)

    def norm(self, value: Any) -> None:
        """Add a step's gradient norm before clipping."""
        self.norms.append(torch.as_tensor(value).detach())

    def first_bad(self) -> int | None:
        """How many steps since the last row went well before the first whose loss was not finite; None: all did."""
        if not self.totals:
            return None
        bad = ~torch.isfinite(torch.stack([totals["loss"].float() for totals in self.totals]))
        return int(bad.nonzero()[0]) if bool(bad.any()) else None

    def row(self, step: int, rates: dict[str, float]) -> dict[str, float]:
        """Close a row: `step`, means of the losses, `smooth_loss`, `loss_t<from>` per band of timesteps,
        `gradient_norm`, learning rates, `images_per_second`, `memory_gb`.
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
        row["memory_gb"] = round(peak_memory(), 3)
        self.totals, self.samples, self.norms, self.photos, self.began = [], [], [], 0, now
        return row

    def take(self) -> dict[str, Any]:
        """What is gathered but in no row yet, for a checkpoint."""
        return {
            "smooth": self.smooth,
            "totals": [{name: float(value) for name, value in one.items()} for one in self.totals],
            "samples": [[losses.tolist(), timesteps.tolist()] for losses, timesteps in self.samples],
            "norms": [float(norm) for norm in self.norms],
        }

    def restore(self, values: dict[str, Any]) -> None:
        """Put back what `take` took."""
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


def peak_memory() -> float:
    """GB: allocated on the GPU at most, or the process's peak on a CPU."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    status = Path("/proc/self/status")  # `ru_maxrss` begins with what the process that started this one held
    found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text()) if status.is_file() else None
    peak = int(found[1]) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * 1024 / 1e9
