"""Optimizers by name, groups with learning rates of their own, and schedules as pure functions of the step."""

import math
from collections.abc import Iterable
from typing import Any

import torch

from pipeline.errors import UserError
from pipeline.params import Train


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


def parameter_group(name: str, parameters: Iterable[torch.nn.Parameter], rate: float, decay: float) -> dict[str, Any]:
    """One group of `make_optimizer`; `base_lr` is the learning rate that the schedule scales."""
    return {"name": name, "params": list(parameters), "lr": rate, "base_lr": rate, "weight_decay": decay}


def make_optimizer(groups: list[dict[str, Any]], params: Train) -> torch.optim.Optimizer:
    """AdamW in float32, or with 8-bit states (bitsandbytes; on a GPU or a CPU).

    Raises:
        OptimizerError: bitsandbytes has no library for this machine.
    """
    settings: dict[str, Any] = {"betas": params.betas, "eps": 1e-8}
    if params.optimizer == "adamw":
        fused = all(parameter.is_cuda for group in groups for parameter in group["params"])
        return torch.optim.AdamW(groups, **settings, fused=fused or None)
    try:
        from bitsandbytes.optim import AdamW8bit

        return AdamW8bit(groups, **settings)
    except (ImportError, RuntimeError, OSError) as error:
        raise OptimizerError(
            f"train.optimizer is adamw-8bit, but bitsandbytes cannot run here ({error}); set it to adamw"
        ) from None


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Scale every group's own learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor


def optimizer_state(optimizer: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The state of every parameter, in the order of the groups: tensors, and what is not a tensor."""
    tensors, plain = {}, {}
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
        parameter = parameters[int(index)]
        if isinstance(value, torch.Tensor) and value.dim() > 0:
            value = value.to(parameter.device)  # noqa: PLW2901
        optimizer.state[parameter][key] = value


def _parameters(optimizer: torch.optim.Optimizer) -> list[torch.nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
