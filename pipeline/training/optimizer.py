"""Optimizers by name, groups with learning rates of their own, and schedules as pure functions of the step."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from accelerate import Accelerator

from pipeline.errors import UserError
from pipeline.params import Train
from pipeline.training.muon import Muon
from pipeline.training.precision import LowPrecisionCopies

SCHEDULED = {"lr", "base_lr", "stop", "weight_decay"}  # keys of a group that come from params.yaml and the schedule


class OptimizerError(UserError):
    """The optimizer that params.yaml names cannot run on this machine."""


def schedule_factor(kind: str, step: int, steps: int, warmup: int) -> float:
    """Factor of the learning rate at optimizer step `step` (from 0): linear warm-up over `warmup` steps, then constant,
    cosine decay to zero, or linear decay to zero at `steps`.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1, steps - warmup)
    if kind == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    return 1 - done if kind == "linear" else 1.0


def parameter_group(
    name: str,
    parameters: Iterable[torch.nn.Parameter],
    rate: float,
    decay: float,
    stop: int | None = None,
) -> dict[str, Any]:
    """One group of `make_optimizer`; the schedule scales `base_lr`; from step `stop` on the group stays as it is."""
    group = {"name": name, "params": list(parameters), "lr": rate, "base_lr": rate, "weight_decay": decay}
    return {**group, "stop": stop}


def make_optimizer(groups: list[dict[str, Any]], params: Train) -> torch.optim.Optimizer:
    """AdamW, AdamW with 8-bit states (bitsandbytes, on a GPU or a CPU), Muon, Adafactor, or Prodigy.

    Adafactor (Shazeer and Stern 2018, arXiv 1804.04235) takes steps of the learning rate, as AdamW does: scaled by the
    size of the parameter, as in the paper, layers that begin at 0 (LoRA's) would hardly move. It has no `betas`.
    Prodigy (Mishchenko and Defazio 2023, arXiv 2306.06101) estimates the step size: learning rates are factors of it,
    usually 1.

    Raises:
        OptimizerError: bitsandbytes cannot run on this machine.
    """
    settings: dict[str, Any] = {"betas": params.betas, "eps": 1e-8}
    if params.optimizer == "muon":
        return Muon(groups, **settings)
    if params.optimizer == "adafactor":
        from transformers.optimization import Adafactor

        return Adafactor(groups, scale_parameter=False, relative_step=False, warmup_init=False)
    if params.optimizer == "prodigy":
        from prodigyopt import Prodigy  # type: ignore[import-untyped]

        return Prodigy(groups, **settings, use_bias_correction=True, safeguard_warmup=True)
    if params.optimizer == "adamw":
        on_gpu = all(parameter.device.type != "cpu" for group in groups for parameter in group["params"])
        # In fp16 the fused kernel leaves a step with overflow out by itself, and nobody hears of it.
        fused = on_gpu and params.precision != "fp16"
        return torch.optim.AdamW(groups, **settings, fused=fused or None)
    try:
        from bitsandbytes.optim import AdamW8bit

        from pipeline.training.eight_bit import CpuAdamW8bit

        on_cpu = all(parameter.device.type == "cpu" for group in groups for parameter in group["params"])
        return (CpuAdamW8bit if on_cpu else AdamW8bit)(groups, **settings)
    except (ImportError, RuntimeError, OSError) as error:
        raise OptimizerError(
            f"train.optimizer is adamw-8bit, but bitsandbytes cannot run on this machine ({error}); set it to adamw"
        ) from None


def set_learning_rates(optimizer: torch.optim.Optimizer, factor: float, step: int) -> None:
    """Set each group's learning rate to `base_lr` times `factor`, or to 0 from its `stop` on."""
    for group in optimizer.param_groups:
        group["lr"] = 0.0 if _has_stopped(group, step) else group["base_lr"] * factor


def drop_stopped_gradients(optimizer: torch.optim.Optimizer, step: int) -> None:
    """Take the gradients of groups away from their `stop` on: no optimizer then moves them (Prodigy steps by the rate
    of the other groups), and they count for no gradient norm.

    Where every group has stopped, the learning rates of 0 are enough, and a loss scaler wants to see gradients.
    """
    stopped = [_has_stopped(group, step) for group in optimizer.param_groups]
    for group, has_stopped in zip(optimizer.param_groups, stopped, strict=True):
        if has_stopped and not all(stopped):
            for parameter in group["params"]:
                parameter.grad = None


def _has_stopped(group: dict[str, Any], step: int) -> bool:
    return group["stop"] is not None and step >= group["stop"]


def unwrap(optimizer: Any) -> torch.optim.Optimizer:
    """The optimizer inside accelerate's wrapper."""
    return getattr(optimizer, "optimizer", optimizer)


def make_low_precision_copies(optimizer: Any, modules: Iterable[torch.nn.Module], params: Train) -> LowPrecisionCopies:
    """bfloat16 copies of the trainable weights of `modules` if the optimizer updates them in its own step, as 8-bit
    AdamW does on a CPU; otherwise no copies, because autocast's casts cost less than casting after each step.
    """
    unsuitable = params.processes > 1 or params.compile or params.method != "dreambooth" or params.precision != "bf16"
    bare: Any = unwrap(optimizer)
    if unsuitable or not getattr(bare, "in_c", False):
        return LowPrecisionCopies([])
    bare.copies = LowPrecisionCopies(modules)
    return bare.copies


def clip_gradients(
    optimizer: Any, parameters: Sequence[torch.nn.Parameter], accelerator: Accelerator, limit: float | None
) -> torch.Tensor:
    """Global norm of the gradients before clipping; above `limit` they are scaled down to it for the next step (None:
    they are not).
    """
    limit = math.inf if limit is None else limit
    own = getattr(unwrap(optimizer), "clip_gradients", None)
    return own(limit) if own else accelerator.clip_grad_norm_(parameters, limit)


def optimizer_state(optimizer: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The state of each parameter as `<index>.<key>`, in the order of the groups: tensors, and plain values.

    Plain values also hold the numbers that the optimizer keeps in its groups (Prodigy's step size), as
    `group<index>.<key>`.
    """
    tensors: dict[str, torch.Tensor] = {}
    plain: dict[str, Any] = {
        f"group{index}.{key}": value
        for index, group in enumerate(optimizer.param_groups)
        for key, value in group.items()
        if isinstance(value, int | float) and key not in SCHEDULED
    }
    for index, parameter in enumerate(_parameters(optimizer)):
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.{key}"] = value
            else:
                plain[f"{index}.{key}"] = value
    return tensors, plain


def load_optimizer_state(
    optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor], plain: dict[str, Any]
) -> None:
    """Load the result of `optimizer_state`, onto the device of each parameter; step counts remain on the CPU, except
    those of fused optimizers, which read them on the device.
    """
    parameters = _parameters(optimizer)
    fused = {parameter for group in optimizer.param_groups if group.get("fused") for parameter in group["params"]}
    for name, value in {**tensors, **plain}.items():
        index, key = name.split(".", 1)
        if index.startswith("group"):
            optimizer.param_groups[int(index.removeprefix("group"))][key] = value
            continue
        parameter = parameters[int(index)]
        if isinstance(value, torch.Tensor) and (value.dim() > 0 or parameter in fused):
            value = value.to(parameter.device)  # noqa: PLW2901
        optimizer.state[parameter][key] = value


def _parameters(optimizer: torch.optim.Optimizer) -> list[torch.nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
