"""Data-parallel training in several processes: each takes a share of every batch, and all take the same step."""

import os
import shutil
import subprocess
import threading
from collections.abc import Sequence

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from pipeline.errors import UserError, counted
from pipeline.params import Train

DEVICE = "DREAMTRACE_DEVICE"  # "cpu": train on the CPU although the machine has a GPU
BUCKET = 1 << 26  # bytes of gradients that are reduced at once


class DeviceError(UserError):
    """The run is impossible with this machine's devices or with this number of processes."""


def make_accelerator(params: Train) -> Accelerator:
    """The device, the precision and the processes of a run.

    Raises:
        DeviceError: fp16 without a GPU, a GPU that torch cannot use, or another number of processes than
            `train.processes`.
    """
    mode = "no" if params.precision == "fp32" else params.precision
    check_device(params)
    cuda = trains_on_gpu()
    AcceleratorState._reset_state()  # it outlives its run, and would force its precision on the next one
    accelerator = Accelerator(mixed_precision=mode, gradient_accumulation_steps=1, cpu=not cuda)
    if accelerator.num_processes != params.processes:
        raise DeviceError(
            f"train.processes is {params.processes}, but training was started in {accelerator.num_processes} "
            "processes; start the stage without a launcher: it starts its processes itself"
        )
    return accelerator


def trains_on_gpu() -> bool:
    """Whether a training of this machine runs on its GPU; else it runs on the CPU."""
    return torch.cuda.is_available() and os.environ.get(DEVICE, "").lower() != "cpu"


def check_device(params: Train) -> None:
    """Refuse to train on the CPU in fp16, in bf16 where there is a GPU that torch does not see, and in more processes
    than there are GPUs, which would share one.

    Raises:
        DeviceError: with what to do.
    """
    if trains_on_gpu():
        if params.processes > (count := torch.cuda.device_count()):
            raise DeviceError(
                f"train.processes is {params.processes}, and torch sees {counted(count, 'GPU')}: each process needs "
                f"one of its own; set train.processes to {count} (and train.gradient_accumulation so that a step sees "
                "as many photos as before)"
            )
        return
    if params.precision == "fp16":
        raise DeviceError("train.precision is fp16, which needs a GPU; set it to bf16 or fp32 to train on the CPU")
    if params.precision == "bf16" and (gpus := _unused_gpus()):
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "a build without CUDA"
        raise DeviceError(
            f"this machine has a GPU ({gpus[0]}), but torch {torch.__version__} ({built}) cannot use it, and training "
            "on the CPU would be many times slower. Install a build of torch that fits the GPU's driver "
            f"(https://pytorch.org/get-started/locally), or set {DEVICE}=cpu to train on the CPU"
        )


def _unused_gpus() -> list[str]:
    """The names of the machine's NVIDIA GPUs, unless `DREAMTRACE_DEVICE=cpu` or an empty CUDA_VISIBLE_DEVICES chooses
    the CPU.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    hidden = visible is not None and visible.split(",")[0].strip() in ("", "-1", "NoDevFiles")
    if hidden or os.environ.get(DEVICE, "").lower() == "cpu" or shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in listed.splitlines() if line.strip()]


def reduce_gradients(parameters: Sequence[torch.nn.Parameter], accelerator: Accelerator, asked: bool = False) -> bool:
    """Sum the gradients over all processes; each has divided by the number of samples in the effective batch.

    A parameter that has no gradient in any process keeps none. Returns whether `asked` is true in any process: all of
    them get the same answer, and it takes no message of its own.
    """
    if accelerator.num_processes == 1:
        return asked
    flags = [*(parameter.grad is not None for parameter in parameters), asked]
    there = torch.tensor(flags, device=accelerator.device).float()
    torch.distributed.all_reduce(there)
    *counts, asking = there.tolist()
    moved = [parameter for parameter, count in zip(parameters, counts, strict=True) if count]
    for parameter in moved:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    for bucket in _buckets([parameter.grad for parameter in moved if parameter.grad is not None]):
        flat = torch.cat([gradient.flatten() for gradient in bucket])
        torch.distributed.all_reduce(flat)
        for gradient, part in zip(bucket, flat.split([gradient.numel() for gradient in bucket]), strict=True):
            gradient.copy_(part.view_as(gradient))
    return bool(asking)


def _buckets(gradients: Sequence[torch.Tensor]) -> list[list[torch.Tensor]]:
    """Gradients in groups of about `BUCKET` bytes, so that no second copy of all of them is needed."""
    found: list[list[torch.Tensor]] = []
    size = BUCKET
    for gradient in gradients:
        if size >= BUCKET:
            found.append([])
            size = 0
        found[-1].append(gradient)
        size += gradient.nbytes
    return found


def reduce_losses(losses: dict[str, torch.Tensor], accelerator: Accelerator) -> dict[str, torch.Tensor]:
    """The losses of the whole effective batch, from those of each process's share."""
    if accelerator.num_processes == 1:
        return losses
    values = torch.stack(list(losses.values()))
    torch.distributed.all_reduce(values)
    return dict(zip(losses, values, strict=True))


def stop_requested(stop: threading.Event, accelerator: Accelerator, agreed: bool) -> bool:
    """Whether to stop after this step: several processes go by what they `agreed` on (see `reduce_gradients`)."""
    return agreed if accelerator.num_processes > 1 else stop.is_set()


def wait_for_all_processes(accelerator: Accelerator) -> None:
    """Return when every process has reached this line."""
    if accelerator.num_processes > 1:
        torch.distributed.barrier()
