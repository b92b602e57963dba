"""Workers of this machine: one for the pool cpu, and one for each GPU."""

import os
import shutil
import socket
import subprocess
from dataclasses import dataclass

from pipeline.environment import DEVICE_SLOT
from pipeline.servers.start_commands import program

AT_ONCE = 8  # flow runs of the pool cpu; most wait: for a slot, or for a person's approval


@dataclass(frozen=True)
class Worker:
    """A worker, the pool that it serves, and the device that its runs compute on."""

    pool: str
    device: str
    limit: int

    @property
    def name(self) -> str:
        return f"worker-{self.device}"

    @property
    def slot(self) -> str:
        """Name of the concurrency limit for this device of this host: one training at a time."""
        return f"{socket.gethostname()}-{self.device}"

    @property
    def purpose(self) -> str:
        return f"pool {self.pool}, one training at a time on {self.slot}"

    def command(self) -> list[str]:
        return [
            *(program("prefect"), "worker", "start", "--type", "process", "--pool", self.pool),
            *("--name", self.slot, "--limit", str(self.limit)),
        ]

    def environment(self) -> dict[str, str]:
        """Runs of the worker see its own GPU only, or none."""
        gpu = self.device.removeprefix("gpu-") if self.pool == "gpu" else ""
        return {DEVICE_SLOT: self.slot, "CUDA_VISIBLE_DEVICES": gpu}


def workers_of() -> list[Worker]:
    """The workers that this machine can have: one for the pool cpu, one for each GPU that may be used."""
    return [Worker("cpu", "cpu", AT_ONCE), *(Worker("gpu", f"gpu-{device}", 1) for device in visible_gpus())]


def visible_gpus() -> list[str]:
    """The GPUs that may be used, as CUDA_VISIBLE_DEVICES names them: numbers, or UUIDs of GPUs and MIG instances.

    As CUDA reads it, the list ends before the first entry that names no device, and a device that is named twice
    empties it. Without the variable, all GPUs that `nvidia-smi` lists.
    """
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    done = subprocess.run([tool, "--list-gpus"], capture_output=True, text=True, check=False, timeout=60)
    lines = [line for line in done.stdout.splitlines() if line.startswith("GPU ")] if done.returncode == 0 else []
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        return [str(number) for number in range(len(lines))]
    found: list[str] = []
    for entry in (part.strip() for part in given.split(",")):
        known = int(entry) < len(lines) if entry.isdecimal() else entry.startswith(("GPU-", "MIG-"))
        if not known:
            break
        found.append(entry)
    return found if len(set(found)) == len(found) else []
