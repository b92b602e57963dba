"""The estimate of GPU memory against what runs really take, as far as a CPU shows it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.base.components import load_parts
from pipeline.params import Preview, Train
from pipeline.training import training_loop
from pipeline.training.estimate import estimate_memory, state_bytes
from pipeline.training.memory import ERROR, MemoryVerdict, judge_memory
from pipeline.training.optimizer import make_optimizer, optimizer_state
from pipeline.training.training_loop import train
from tests.pretend.fixtures import Gpu
from tests.tiny import SIZE


def params_of(values: dict[str, Any], **changes: Any) -> Train:
    return Train.model_validate({**values["train"], "batch": 4, **changes})


WHOLE_RUNS: list[dict[str, Any]] = [
    {"batch": 1, "gradient_checkpointing": True, "ema": 0.9, "class_images": False},
    {"precision": "bf16", "optimizer": "adamw-8bit", "gradient_checkpointing": True},
    {"precision": "bf16", "prior": {"kind": "prediction", "weight": 1.0}},
    {"method": "dreambooth-lora", "precision": "bf16"},
    {"method": "textual-inversion", "precision": "bf16"},
    {"batch": 1, "gradient_checkpointing": True, "previews": 8},
    {"batch": 1, "precision": "bf16", "method": "textual-inversion", "previews": 8},
]


@pytest.mark.gpu
@pytest.mark.may_skip
@pytest.mark.parametrize("changes", WHOLE_RUNS, ids=str)
def test_a_whole_run_takes_what_was_estimated(tiny_base: Path, job, gpu: Gpu, changes: dict[str, Any]) -> None:
    """The trainer itself, with class images, validation, candidates, checkpoints and previews."""
    if gpu.real:
        pytest.skip("beside a model this small a real GPU's own buffers weigh more")
    count = changes.get("previews", 1)
    draw = {"steps": 1, "guidance": 2.0, "scheduler": "ddim", "batch": count, "precision": "fp32"}
    preview = Preview.model_validate({"every": 1, "prompts": ["a photo of mysks"] * count, "seed": 1, "draw": draw})
    settings = {"steps": 2, "batch": 4, "optimizer": "adamw", "save_every": 1, "validate_every": 1, **changes}
    settings.pop("previews", None)
    with_classes = settings.get("class_images", True)
    done = job("run", **settings)
    done = replace(done, heldout=done.photos[:1], preview=preview)
    before = gpu.live()
    gpu.start_peak()
    train(done)
    found = estimate_memory(tiny_base, done.params, SIZE, with_classes, "mysks", 1, preview)
    assert found.peak == pytest.approx(gpu.peak() - before, rel=0.1)
    assert ("previews" in changes) == (found.drawing > found.activations + found.gradients)


def test_previews_keep_no_training_from_beginning_that_would_fit(tiny_base: Path, values) -> None:
    """The trainer passes over a preview for which memory runs out."""
    draw = {"steps": 1, "guidance": 2.0, "scheduler": "ddim", "batch": 64, "precision": "fp32"}
    preview = Preview.model_validate({"every": 1, "prompts": ["a photo of mysks"] * 64, "seed": 1, "draw": draw})
    params, heldout = params_of(values), 1
    whole = estimate_memory(tiny_base, params, SIZE, False, "mysks", heldout, preview)
    least = estimate_memory(tiny_base, params_of(values, batch=1), SIZE, False, "mysks").peak
    assert whole.training < (1 - ERROR) * whole.previews and least < whole.training

    def judged(free: int) -> MemoryVerdict:
        return judge_memory(tiny_base, params, SIZE, False, "mysks", heldout, preview, free)

    assert judged(whole.peak) == MemoryVerdict(whole.peak, whole.previews)
    found = judged(whole.training)
    assert found.problem is None and found.warning is not None
    assert found.warning.startswith("previews need about") and "smaller micro-batches" not in found.warning
    assert "lower preview.draw.batch, or set preview.every to 0" in found.warning
    found = judged(least)
    assert found.problem is None and found.warning is not None
    assert "smaller micro-batches will be tried" in found.warning and "previews need about" in found.warning
    assert "with one photo at a time" in str(judged(int((1 - ERROR) * least) - 1).problem)


@pytest.mark.slow
@pytest.mark.gpu
def test_where_memory_runs_out_the_held_out_photos_are_looked_at_in_smaller_parts(job, gpu: Gpu) -> None:
    settings = {"steps": 1, "batch": 1, "optimizer": "adamw", "gradient_checkpointing": True, "class_images": False}
    plain, validated = job("plain", **settings), job("validated", validate_every=1, **settings)
    gpu.start_peak()
    train(plain)
    limit = gpu.peak()
    gpu.start_peak()
    expected = train(replace(validated, heldout=validated.photos[:2])).rows[-1]["validation_loss"]
    assert gpu.peak() > 1.05 * limit
    gpu.limit(limit)
    cramped = job("cramped", validate_every=1, **settings)
    found = train(replace(cramped, heldout=cramped.photos[:2])).rows[-1]["validation_loss"]
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.gpu
def test_what_is_saved_takes_no_memory_of_the_gpu(
    job, tiny_base: Path, gpu: Gpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []

    def watched(save: Any) -> Any:
        def called(*arguments: Any) -> Any:
            gpu.start_peak()
            before = gpu.peak()
            result = save(*arguments)
            taken.append(gpu.peak() - before)
            return result

        return called

    for name in ("save_candidate", "save_checkpoint", "export_model"):
        monkeypatch.setattr(training_loop, name, watched(getattr(training_loop, name)))
    train(job("run", steps=2, optimizer="adamw", ema=0.9, save_every=1, checkpoint_every=1))
    assert len(taken) >= 4
    assert max(taken[:-1]) == 0
    table = load_parts(tiny_base).text_encoder.get_input_embeddings().weight
    assert taken[-1] < 2.1 * table.nbytes  # the export joins the row of the token to the table


@pytest.mark.parametrize("optimizer", ["adamw", "adamw-8bit", "muon", "adafactor", "prodigy"])
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
