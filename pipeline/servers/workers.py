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
        """What only one training at a time may hold: this device of this host."""
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
        """The GPU is the only one that its runs see."""
        number = self.device.removeprefix("gpu-")
        return {DEVICE_SLOT: self.slot, "CUDA_VISIBLE_DEVICES": number if self.pool == "gpu" else ""}


def workers_of() -> list[Worker]:
    """The workers that this machine can have."""
    return [Worker("cpu", "cpu", AT_ONCE), *(Worker("gpu", f"gpu-{number}", 1) for number in range(count_gpus()))]


def count_gpus() -> int:
    """GPUs that `nvidia-smi` lists, or those of CUDA_VISIBLE_DEVICES; 0 without a driver."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return 0
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return len([number for number in given.split(",") if number.strip()])
    done = subprocess.run([tool, "--list-gpus"], capture_output=True, text=True, check=False)
    return sum(line.startswith("GPU ") for line in done.stdout.splitlines()) if done.returncode == 0 else 0
