"""The estimate of GPU memory against what runs really take, as far as a CPU shows it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from pipeline.base.components import load_parts
from pipeline.params import Train
from pipeline.training.estimate import _step, estimate_memory, state_bytes
from pipeline.training.optimizer import make_optimizer, optimizer_state
from pipeline.training.trainable import select_trainable
from tests.tiny import SIZE


def allocated(run: Any) -> int:
    """The most bytes that `run` had at once, as the allocator tells the profiler."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        run()
    now = most = 0
    for event in sorted(found.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most


def params_of(values: dict[str, Any], **changes: Any) -> Train:
    return Train.model_validate({**values["train"], "batch": 4, **changes})


@pytest.mark.parametrize(
    "changes",
    [{}, {"gradient_checkpointing": True}, {"precision": "bf16"}, {"method": "dreambooth-lora"},
     {"method": "textual-inversion"}],
    ids=str,
)  # fmt: skip
def test_a_step_takes_what_was_estimated(tiny_base: Path, values, changes: dict[str, Any]) -> None:
    params = params_of(values, **changes)
    found = estimate_memory(tiny_base, params, SIZE, False, "mysks")
    parts = load_parts(tiny_base)
    learned = select_trainable(parts, "mysks", params)
    if params.gradient_checkpointing:
        parts.unet.enable_gradient_checkpointing()
    parts.unet.train()
    measured = allocated(lambda: _step(parts, 4, SIZE, params.precision, True))
    assert found.gradients == sum(parameter.nbytes for parameter in learned.parameters)
    assert found.gradients + found.activations == pytest.approx(measured, rel=0.15)


@pytest.mark.parametrize("optimizer", ["adamw", "adamw-8bit", "adafactor", "prodigy"])
def test_states_are_as_large_as_the_optimizers_make_them(values, optimizer: str) -> None:
    parameters = [torch.nn.Parameter(torch.randn(*shape)) for shape in [(64, 100), (100,), (8, 8, 3, 3), (128, 64)]]
    group = {"name": "x", "params": parameters, "lr": 1e-3, "base_lr": 1e-3, "weight_decay": 0.0, "stop": None}
    optimizer_ = make_optimizer(
        [group],
        params_of(
            values,
            optimizer=optimizer,
            token={"learn": False, **{key: value for key, value in values["train"]["token"].items() if key != "learn"}},
        ),
    )
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    optimizer_.step()
    tensors, _ = optimizer_state(optimizer_)
    kept = {id(tensor): tensor for name, tensor in tensors.items() if "qmap" not in name and tensor.dim() > 0}
    expected = sum(state_bytes(parameter.shape, optimizer) for parameter in parameters)
    assert sum(tensor.nbytes for tensor in kept.values()) == pytest.approx(expected, rel=0.02)


def test_what_saves_memory_is_seen_to(tiny_base: Path, values) -> None:
    plain, saving, more, lora, average = (
        estimate_memory(tiny_base, params_of(values, **changes), SIZE, True, "mysks")
        for changes in ({}, {"gradient_checkpointing": True}, {"batch": 8}, {"method": "dreambooth-lora"}, {"ema": 0.9})
    )
    assert saving.activations < plain.activations < more.activations
    assert lora.gradients < plain.gradients / 2 < lora.peak
    assert average.peak - plain.peak == plain.gradients
