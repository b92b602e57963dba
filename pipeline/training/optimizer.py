"""Optimizers by name, groups with learning rates of their own, and schedules as pure functions of the step."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from accelerate import Accelerator

from pipeline.errors import UserError
from pipeline.params import Train
from pipeline.training.precision import NarrowCopies

OURS = {"lr", "base_lr", "stop", "weight_decay"}  # set at the start and by the schedule


class OptimizerError(UserError):
    """The optimizer of params.yaml cannot run on this machine."""


def schedule_factor(kind: str, step: int, steps: int, warmup: int) -> float:
    """Share of the learning rate at optimizer step `step` (from 0): a linear rise over `warmup` steps, then constant,
    half a cosine to zero, or a straight line to zero at `steps`.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1, steps - warmup)
    if kind == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    return 1 - done if kind == "linear" else 1.0


def parameter_group(
    name: str, parameters: Iterable[torch.nn.Parameter], rate: float, decay: float, stop: int | None = None
) -> dict[str, Any]:
    """One group of `make_optimizer`; the schedule scales `base_lr`; from step `stop` on the group stays as it is."""
    group = {"name": name, "params": list(parameters), "lr": rate, "base_lr": rate, "weight_decay": decay}
    return {**group, "stop": stop}


def make_optimizer(groups: list[dict[str, Any]], params: Train) -> torch.optim.Optimizer:
    """AdamW in float32 or with 8-bit states (bitsandbytes; on a GPU or a CPU), Adafactor, or Prodigy.

    Prodigy (Mishchenko and Defazio 2023, arXiv 2306.06101) finds its own step size: the learning rates are factors of
    it, usually 1.

    Raises:
        OptimizerError: bitsandbytes has no library for this machine.
    """
    settings: dict[str, Any] = {"betas": params.betas, "eps": 1e-8}
    if params.optimizer == "adafactor":
        return torch.optim.Adafactor(groups)
    if params.optimizer == "prodigy":
        from prodigyopt import Prodigy  # type: ignore[import-untyped]

        return Prodigy(groups, **settings, use_bias_correction=True, safeguard_warmup=True)
    if params.optimizer == "adamw":
        fused = all(parameter.is_cuda for group in groups for parameter in group["params"])
        return torch.optim.AdamW(groups, **settings, fused=fused or None)
    try:
        from bitsandbytes.optim import AdamW8bit

        from pipeline.training.eight_bit import CpuAdamW8bit

        on_cpu = all(parameter.device.type == "cpu" for group in groups for parameter in group["params"])
        return (CpuAdamW8bit if on_cpu else AdamW8bit)(groups, **settings)
    except (ImportError, RuntimeError, OSError) as error:
        raise OptimizerError(
            f"train.optimizer is adamw-8bit, but bitsandbytes cannot run here ({error}); set it to adamw"
        ) from None


def set_rates(optimizer: torch.optim.Optimizer, factor: float, step: int) -> None:
    """Scale every group's own learning rate; that of a group that has stopped is zero."""
    for group in optimizer.param_groups:
        stopped = group["stop"] is not None and step >= group["stop"]
        group["lr"] = 0.0 if stopped else group["base_lr"] * factor


def inner(optimizer: Any) -> torch.optim.Optimizer:
    """The optimizer inside accelerate's wrapper."""
    return getattr(optimizer, "optimizer", optimizer)


def narrow_copies(optimizer: Any, modules: Iterable[torch.nn.Module], params: Train) -> NarrowCopies:
    """bfloat16 copies of what `modules` learn, where the optimizer keeps them up to date in its own step: 8-bit AdamW
    on a CPU. None elsewhere, where autocast's casts cost less than following the optimizer.
    """
    apart = params.processes > 1 or params.compile or params.method != "dreambooth" or params.precision != "bf16"
    own: Any = inner(optimizer)
    if apart or not getattr(own, "in_c", False):
        return NarrowCopies([])
    own.copies = NarrowCopies(modules)
    return own.copies


def clip_gradients(
    optimizer: Any, parameters: Sequence[torch.nn.Parameter], accelerator: Accelerator, limit: float
) -> torch.Tensor:
    """Norm of all gradients together before clipping; above `limit` the step takes them smaller by that much."""
    own = getattr(inner(optimizer), "clip_gradients", None)
    return own(limit) if own else accelerator.clip_grad_norm_(parameters, limit)


def optimizer_state(optimizer: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The state of every parameter, in the order of the groups: tensors, and what is not a tensor.

    Numbers that the optimizer keeps in its groups (Prodigy's step size) are in it as `group<index>.<key>`.
    """
    tensors: dict[str, torch.Tensor] = {}
    plain: dict[str, Any] = {
        f"group{index}.{key}": value
        for index, group in enumerate(optimizer.param_groups)
        for key, value in group.items()
        if isinstance(value, int | float) and key not in OURS
    }
    for index, parameter in enumerate(_parameters(optimizer)):
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.{key}"] = value
            else:
                plain[f"{index}.{key}"] = value
    return tensors, plain


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor], plain: dict[str, Any]
) -> None:
    """Put back what `optimizer_state` took, on the device of each parameter (step counts stay on the CPU)."""
    parameters = _parameters(optimizer)
    for name, value in {**tensors, **plain}.items():
        index, key = name.split(".", 1)
        if index.startswith("group"):
            optimizer.param_groups[int(index.removeprefix("group"))][key] = value
            continue
        parameter = parameters[int(index)]
        if isinstance(value, torch.Tensor) and value.dim() > 0:
            value = value.to(parameter.device)  # noqa: PLW2901
        optimizer.state[parameter][key] = value


def _parameters(optimizer: torch.optim.Optimizer) -> list[torch.nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
