"""Training on a GPU: placement, types, checkpoints, candidates, previews, export, memory.

Where there is no GPU, all of it runs on a pretend one (`tests/pretend`): its numbers are those of the CPU, and a tensor
on the wrong device or of the wrong type fails.
"""

import os
import signal
from dataclasses import replace
from typing import Any

import pytest
import torch

from pipeline.params import Preview
from pipeline.training import training_loop
from pipeline.training.candidates import candidate_folder, export_candidate
from pipeline.training.captions import CaptionEncoder
from pipeline.training.data import LatentMoments
from pipeline.training.estimate import estimate_memory
from pipeline.training.job import Job
from pipeline.training.memory import ERROR, MemoryTooSmall, check_memory
from pipeline.training.state import State
from pipeline.training.steps import Stepper
from pipeline.training.stream import Batch
from pipeline.training.training_loop import TrainingStopped, train
from tests.pretend.fixtures import Gpu
from tests.tiny import SIZE
from tests.training.jobs import equal, weights

pytestmark = pytest.mark.gpu
LORA = {"rank": 4, "alpha": 8, "dora": False, "targets": ["to_q", "to_k", "to_v", "to_out.0"]}
DRAW = {"steps": 1, "guidance": 2.0, "scheduler": "ddim", "batch": 1, "precision": "fp32"}
PREVIEW = Preview.model_validate({"every": 2, "prompts": ["a photo of mysks plush toy"], "seed": 1, "draw": DRAW})
EVERYTHING: dict[str, Any] = {
    "steps": 3,
    "learning_rate": 8e-4,
    "lora": LORA,
    "ema": 0.9,
    "save_every": 2,
    "validate_every": 2,
    "checkpoint_every": 2,
    "flip": True,
    "log_every": 1,
}
METHODS = ["dreambooth", "dreambooth-lora", "textual-inversion"]


def complete(job: Job) -> Job:
    """The job with held-out photos and previews as well."""
    return replace(job, heldout=job.photos[:1], preview=PREVIEW)


def stop_after(step: int) -> Any:
    def stop(row: dict[str, float]) -> None:
        if row["step"] == step:
            os.kill(os.getpid(), signal.SIGTERM)

    return stop


@pytest.mark.parametrize("method", METHODS)
def test_in_float32_a_run_ends_where_that_of_the_cpu_ends(job, request, method: str) -> None:
    on_cpu = complete(job("cpu", method=method, optimizer="adamw", **EVERYTHING))
    expected = train(on_cpu)
    gpu: Gpu = request.getfixturevalue("gpu")
    done = complete(job("gpu", method=method, optimizer="adamw", **EVERYTHING))
    found = train(done)
    assert found.device == gpu.device.type
    near = 1e-3 if gpu.real else 1e-6
    for row, other in zip(found.rows, expected.rows, strict=True):
        names = [name for name in other if name not in ("images_per_second", "memory_gb")]
        # A loss against the base's own prediction is the square of what is left of two numbers that are nearly alike.
        assert [row[name] for name in names] == pytest.approx([other[name] for name in names], rel=near, abs=1e-7)
    for name, tensor in weights(on_cpu).items():
        assert (weights(done)[name] - tensor).abs().mean() < near, name


@pytest.mark.parametrize("method", METHODS[:2])
def test_in_bf16_all_parts_work_and_a_stopped_run_ends_in_the_same_weights(job, gpu: Gpu, capsys, method: str) -> None:
    settings = {**EVERYTHING, "method": method, "precision": "bf16", "optimizer": "adamw-8bit"}
    whole, broken = complete(job("whole", **settings)), complete(job("broken", **settings))
    drawn: list[int] = []
    train(whole, on_preview=lambda step, _: drawn.append(step))
    assert drawn == [2, 3]
    with pytest.raises(TrainingStopped):
        train(broken, stop_after(2))
    assert train(broken).resumed_from == 2
    assert "could not be drawn" not in capsys.readouterr().out
    assert equal(weights(whole), weights(broken))


@pytest.mark.parametrize(
    ("method", "precision"), [*((method, "bf16") for method in METHODS), ("dreambooth", "fp16")], ids=str
)
def test_a_candidate_is_the_model_that_an_export_at_its_step_gives(job, gpu: Gpu, method: str, precision: str) -> None:
    prior = {"kind": "prediction", "weight": 1.0}
    settings = {"steps": 1, "save_every": 1, "lora": LORA, "optimizer": "adamw", "prior": prior, "ema": 0.9}
    done = job("whole", method=method, precision=precision, **settings)
    train(done)
    assert not equal(weights(done), weights(replace(done, model=done.base)))
    candidate = replace(done, model=done.model.with_name("candidate"))
    export_candidate(candidate, candidate_folder(done, 1), candidate.model)
    assert equal(weights(done), weights(candidate))


def test_where_memory_runs_out_smaller_parts_take_the_same_step(job, gpu: Gpu, capsys) -> None:
    settings = {"steps": 1, "optimizer": "adamw", "precision": "fp32"}
    train(job("one", batch=1, **settings))
    lowest = gpu.peak()
    gpu.start_peak()
    small, large = job("small", batch=2, gradient_accumulation=2, **settings), job("large", batch=4, **settings)
    train(small)
    gpu.limit(gpu.peak() + (gpu.peak() - lowest) // 2)
    train(large)
    assert "micro-batches of 2; a step still takes 4 photos" in capsys.readouterr().out
    if not gpu.real:
        assert equal(weights(small), weights(large))
    gpu.limit(lowest // 2)
    with pytest.raises(torch.OutOfMemoryError if gpu.real else MemoryTooSmall):
        train(job("none", batch=4, **settings))


def ids_on_the_cpu(encoder: CaptionEncoder, ids: list[list[int]]) -> torch.Tensor:
    return encoder.text_encoder(torch.tensor(ids)).last_hidden_state


def moments_on_the_gpu(moments: LatentMoments, vae: Any, *rest: Any) -> None:
    ORIGINAL[LatentMoments](moments, vae, *rest)
    moments.values = [value.to(vae.device) for value in moments.values]


def without_autocast(stepper: Stepper, unet: Any, noisy: Any, timesteps: Any, states: Any) -> torch.Tensor:
    return unet(noisy, timesteps, states).sample


def half_latents(batch: Batch, device: torch.device) -> Batch:
    return replace(batch, latents=batch.latents.to(device).bfloat16(), **{
        name: getattr(batch, name).to(device) for name in ("noises", "timesteps", "loss_masks", "classes")
    })  # fmt: skip


def average_on_the_cpu(state: State, checkpoint: Any, device: torch.device, remedy: str) -> int:
    step = ORIGINAL[State](state, checkpoint, device, remedy)
    state.ema = [mean.cpu() for mean in state.ema]
    return step


ORIGINAL: dict[type, Any] = {
    LatentMoments: LatentMoments.__init__,
    State: State.load_checkpoint,
}
FAULTS = {
    "captions stay on the CPU": (CaptionEncoder, "_forward", ids_on_the_cpu),
    "batches stay on the CPU": (Batch, "to", lambda batch, device: batch),
    "latents leave the GPU too late": (LatentMoments, "__init__", moments_on_the_gpu),
    "the U-Net runs outside of autocast": (Stepper, "predict", without_autocast),
    "the moving average stays on the CPU": (State, "load_checkpoint", average_on_the_cpu),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_fails(job, gpu: Gpu, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    monkeypatch.setattr(*FAULTS[fault])
    settings = {**EVERYTHING, "steps": 1, "method": "dreambooth-lora", "precision": "bf16", "optimizer": "adamw"}
    with pytest.raises(RuntimeError, match=r"device|dtype|data of a tensor"):
        train(job("faulty", **settings))


@pytest.mark.parametrize("method", METHODS[1:])
def test_the_model_is_written_in_the_memory_that_a_checkpoint_is_written_in(
    job, gpu: Gpu, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    live: dict[str, int] = {}

    def watched(name: str) -> Any:
        real = getattr(training_loop, name)
        return lambda *arguments: (live.update({name: gpu.live()}), real(*arguments))[1]

    for name in ("save_checkpoint", "export_model"):
        monkeypatch.setattr(training_loop, name, watched(name))
    train(job("run", steps=1, method=method, precision="bf16", optimizer="adamw", lora=LORA))
    assert live["export_model"] <= 1.01 * live["save_checkpoint"]


@pytest.mark.may_skip
def test_a_training_that_does_not_fit_is_refused_before_it_starts(job, gpu: Gpu, capsys) -> None:
    if gpu.real:
        pytest.skip("a real GPU's free memory is not that of this process")
    small = complete(job("small", method="dreambooth", optimizer="adamw", **{**EVERYTHING, "steps": 1}))
    batches = {}
    for batch, heldout in ((1, 0), (8, 1)):
        params = small.params.model_copy(update={"batch": batch})
        batches[batch] = estimate_memory(small.base, params, SIZE, True, "mysks", heldout, PREVIEW).peak
    gpu.limit(gpu.live() + int((1 - ERROR) * batches[1]) - 1)
    with pytest.raises(MemoryTooSmall, match="with one photo at a time"):
        train(small)
    assert gpu.peak() == gpu.live() and not small.checkpoints.exists() and not small.model.exists()
    gpu.limit(gpu.live() + batches[8] - 1)
    large = replace(small, params=small.params.model_copy(update={"batch": 8}))
    check_memory(large, gpu.device)
    assert "batches of 8 need about" in capsys.readouterr().out
    gpu.limit(gpu.live() + batches[8])
    check_memory(large, gpu.device)
    assert capsys.readouterr().out == ""
