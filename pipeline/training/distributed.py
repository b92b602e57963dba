"""Several processes that train as one: each has a share of every batch, and all take the same step."""

import threading
from collections.abc import Sequence

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from pipeline.errors import UserError
from pipeline.params import Train


class DeviceError(UserError):
    """The run cannot be done with the devices and processes that are here."""


def make_accelerator(params: Train) -> Accelerator:
    """The device, the precision and the processes of a run.

    Raises:
        DeviceError: fp16 without a GPU, or another number of processes than params.yaml says.
    """
    mode = "no" if params.precision == "fp32" else params.precision
    if params.precision == "fp16" and not torch.cuda.is_available():
        raise DeviceError("train.precision is fp16, which needs a GPU; use bf16 or fp32 here")
    AcceleratorState._reset_state()  # it outlives its run, and would hold the next one to this precision
    accelerator = Accelerator(mixed_precision=mode, gradient_accumulation_steps=1, cpu=not torch.cuda.is_available())
    if accelerator.num_processes != params.processes:
        raise DeviceError(
            f"train.processes is {params.processes}, but training was started in {accelerator.num_processes}; "
            "start the stage without a launcher: it starts the processes itself"
        )
    return accelerator


def reduce_gradients(parameters: Sequence[torch.nn.Parameter], accelerator: Accelerator) -> None:
    """Sum the gradients of all processes; each has divided by the samples of the whole effective batch.

    A parameter without a gradient in every process keeps none.
    """
    if accelerator.num_processes == 1:
        return
    there = torch.tensor([parameter.grad is not None for parameter in parameters], device=accelerator.device).float()
    torch.distributed.all_reduce(there)
    moved = [parameter for parameter, count in zip(parameters, there.tolist(), strict=True) if count]
    for parameter in moved:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [parameter.grad for parameter in moved if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    torch.distributed.all_reduce(flat)
    for gradient, part in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def reduce_sums(sums: dict[str, torch.Tensor], accelerator: Accelerator) -> dict[str, torch.Tensor]:
    """Losses of the whole effective batch from those of each process's share."""
    if accelerator.num_processes == 1:
        return sums
    values = torch.stack(list(sums.values()))
    torch.distributed.all_reduce(values)
    return dict(zip(sums, values, strict=True))


def asked_to_stop(stop: threading.Event, accelerator: Accelerator, due: bool) -> bool:
    """Whether any process was asked to stop; several processes ask each other only when `due`."""
    if accelerator.num_processes == 1:
        return stop.is_set()
    if not due:
        return False
    asked = torch.tensor(float(stop.is_set()), device=accelerator.device)
    torch.distributed.all_reduce(asked)
    return bool(asked.item())
