"""LoRA, textual inversion and what they leave behind: every file draws what the trained model draws."""

import json
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pipeline.base.components import load_parts, load_pipeline
from pipeline.base.learned import Learned, apply_learned, write_learned
from pipeline.params import Train
from pipeline.training.adapters import save_adapters
from pipeline.training.augmentation import View
from pipeline.training.data import LatentMoments, Sample
from pipeline.training.job import Job
from pipeline.training.steps import Stepper
from pipeline.training.stream import Stream
from pipeline.training.token import expand_token
from pipeline.training.trainable import TargetError, select_trainable
from pipeline.training.training_loop import train
from tests.training.jobs import TEXT, TOKEN, UNET, equal, weights

LORA = {"rank": 4, "alpha": 8, "dora": False, "targets": ["to_q", "to_k", "to_v", "to_out.0"]}
STRONG = {"learning_rate": 0.05, "optimizer": "adamw", "steps": 6}


def draw(pipe: Any, prompt: str = "a photo of mysks plush toy") -> np.ndarray:
    generator = torch.Generator("cpu").manual_seed(3)
    (picture,) = pipe(
        prompt, num_inference_steps=3, guidance_scale=2.0, generator=generator, height=32, width=32
    ).images
    return np.asarray(picture, np.int16)


def pipeline_of(folder: Path) -> Any:
    return load_pipeline(folder, torch.float32, "cpu")


@pytest.mark.parametrize("changes", [{}, {"dora": True, "targets": ["to_q", "to_k", "to_v"]}], ids=["lora", "dora"])
def test_lora_files_draw_what_the_merged_model_draws(job, tiny_base: Path, changes: dict) -> None:
    done: Job = job("lora", method="dreambooth-lora", lora={**LORA, **changes}, **STRONG)
    train(done)
    expected = draw(pipeline_of(done.model))
    assert np.abs(expected - draw(pipeline_of(tiny_base))).max() > 5
    files = sorted(path.name for path in (done.model / "adapters").glob("*.safetensors"))
    assert files == ["pytorch_lora_weights.safetensors" if changes else "kohya.safetensors"]
    for file in files:
        content = (done.model / "adapters" / file).read_bytes()
        metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
        assert list(metadata) == sorted(metadata)
        if changes:
            targets = json.loads(metadata["lora_adapter_metadata"])["unet.target_modules"]
            assert targets == sorted(changes["targets"])
        pipe = pipeline_of(tiny_base)
        pipe.load_textual_inversion(done.model / "embeddings" / "mysks.safetensors", token="mysks")
        pipe.load_lora_weights(done.model / "adapters", weight_name=file)
        assert np.abs(draw(pipe) - expected).max() <= 1, file


def test_lora_of_the_text_encoder_draws_the_same_too(job, tiny_base: Path) -> None:
    learn = {"learn": True, "learning_rate": 0.05}
    done: Job = job("lora", method="dreambooth-lora", lora=LORA, text_encoder=learn, **STRONG)
    train(done)
    before, after = load_file(tiny_base / TEXT), weights(done)
    moved = {name for name in before if not torch.equal(before[name], after[name][: len(before[name])])}
    assert moved and all("proj" in name and "mlp" not in name for name in moved)
    pipe = pipeline_of(tiny_base)
    pipe.load_textual_inversion(done.model / "embeddings" / "mysks.safetensors", token="mysks")
    pipe.load_lora_weights(done.model / "adapters", weight_name="kohya.safetensors")
    assert np.abs(draw(pipe) - draw(pipeline_of(done.model))).max() <= 1


@pytest.mark.parametrize("targets", [["to_q", "nosuch"], ["nosuch"], ["to_out"], ["0"]], ids=str)
def test_targets_that_are_no_layers_are_refused(job, tiny_base: Path, targets: list[str]) -> None:
    params = job("lora", method="dreambooth-lora", lora={**LORA, "targets": targets}).params
    with pytest.raises(TargetError, match=rf"train\.lora\.targets: .*'{targets[-1]}'"):
        select_trainable(load_parts(tiny_base), "mysks", params)


def test_lora_touches_its_targets_alone(job, tiny_base: Path) -> None:
    done: Job = job("lora", method="dreambooth-lora", lora={**LORA, "targets": ["to_q"]}, **STRONG)
    train(done)
    before, after = load_file(tiny_base / UNET), weights(done)
    assert before.keys() <= after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and all("to_q" in name for name in moved)


def test_textual_inversion_moves_the_rows_alone_and_its_file_carries_them(job, tiny_base: Path) -> None:
    done: Job = job("ti", method="textual-inversion", token={**TOKEN, "learning_rate": 0.1, "vectors": 3}, steps=4)
    train(done)
    assert all((done.model / file).read_bytes() == (tiny_base / file).read_bytes() for file in (UNET, TEXT))
    before, after = load_file(tiny_base / TEXT), weights(done)
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name][: len(tensor)]), name
    pipe = pipeline_of(tiny_base)
    pipe.load_textual_inversion(done.model / "embeddings" / "mysks.safetensors", token="mysks")
    expected = draw(pipeline_of(done.model))
    assert np.array_equal(draw(pipe), expected)
    assert not np.array_equal(draw(pipe, "a photo of a plush toy"), expected)


def test_plain_captions_name_the_subject_alone(tiny_base: Path) -> None:
    moments = LatentMoments.__new__(LatentMoments)
    moments.values, moments.scale, moments.views = [torch.zeros(1, 8, 2, 2)], 1.0, [[View()]]
    names = ("a photo of mysks plush toy", "a photo of mysks")
    stream = Stream("instance", [Sample(Path("x.png"), "whole")], moments, 0.2, None, 0.0, names, 0.5)
    found = Counter(one.caption for step in range(100) for one in stream.samples_at(1, step, range(4), 4, 1000))
    assert set(found) == {"", "whole", *names}
    assert 0.13 < found[""] / 400 < 0.27
    assert 0.32 < found["whole"] / 400 < 0.48
    assert abs(found[names[0]] - found[names[1]]) < 50


def test_several_vectors_stand_in_the_token_s_place() -> None:
    assert (
        expand_token("a mysks, mysks_b and xmysks mysks", "mysks", 2)
        == "a mysks mysks_1, mysks_b and xmysks mysks mysks_1"
    )
    assert expand_token("a mysks", "mysks", 1) == "a mysks"


@pytest.mark.parametrize("method", ["dreambooth", "dreambooth-lora"])
def test_the_frozen_base_as_prior_asks_for_nothing_at_first(job, method: str) -> None:
    prior = {"kind": "prediction", "weight": 1.0}
    rows = train(job(method, method=method, lora=LORA, prior=prior, learning_rate=0.01, steps=3)).rows
    assert rows[0]["prior_loss"] < 1e-9
    assert rows[-1]["prior_loss"] > 1e-7


@pytest.mark.parametrize("dora", [False, True])
def test_written_layers_compute_what_they_did_in_training(
    tiny_base: Path, values: dict[str, Any], tmp_path: Path, dora: bool
) -> None:
    parts = load_parts(tiny_base)
    lora = {**LORA, "dora": dora, "targets": ["to_q", "to_out.0", *["conv1", "conv_shortcut"] * (not dora)]}
    params = Train.model_validate({**values["train"], "method": "dreambooth-lora", "lora": lora})
    learned = select_trainable(parts, "mysks", params)
    for parameter in learned.modules["unet"].parameters():
        if parameter.requires_grad:
            parameter.data.normal_(0, 0.1, generator=torch.Generator().manual_seed(1))
    noisy, states = torch.randn(2, 4, 16, 16), torch.randn(2, 8, 32)
    timesteps = torch.tensor([10, 700])
    with torch.no_grad():
        apart = parts.unet(noisy, timesteps, states).sample
        file = save_adapters(parts, learned, lora["alpha"], tmp_path / "adapters")
        write_learned(tmp_path, Learned(layers=f"adapters/{file}", alpha=lora["alpha"]))
        plain = load_parts(tiny_base)
        before = plain.unet(noisy, timesteps, states).sample
        apply_learned(tmp_path, plain.tokenizer, plain.text_encoder, plain.unet)
        assert torch.allclose(plain.unet(noisy, timesteps, states).sample, apart, atol=1e-4)
        assert not torch.allclose(before, apart, atol=0.05)


def test_averaged_weights_lag_behind_by_the_decay(job, tiny_base: Path) -> None:
    plain, mean = job("plain", steps=1, optimizer="adamw"), job("mean", steps=1, optimizer="adamw", ema=0.5)
    train(plain)
    train(mean)
    start, last, average = load_file(tiny_base / UNET), load_file(plain.model / UNET), load_file(mean.model / UNET)
    for name, tensor in start.items():  # a first average keeps 1/10 of where it was
        assert torch.allclose(average[name], 0.1 * tensor + 0.9 * last[name], atol=1e-6), name


NO_CLASS_IMAGES = {"method": "dreambooth-lora", "lora": LORA, "class_images": False}


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "fp32"},
        {"precision": "bf16"},
        {**NO_CLASS_IMAGES, "prior": {"kind": "prediction", "weight": 1.0}},  # no adapters are switched off for any
    ],
    ids=["fp32", "bf16", "prediction without class images"],
)
def test_halves_are_computed_at_the_same_time_and_give_the_same_bits_on_one_core(job, changes, monkeypatch) -> None:
    settings = {"batch": 2, "gradient_accumulation": 2, "steps": 2, "optimizer": "adamw", **changes}
    one, two = (job(name, **settings) for name in ("one", "two"))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        train(one)
        together, losses = threading.Barrier(2, timeout=60), Stepper._losses

        def meeting(self: Stepper, batch: Any) -> Any:
            together.wait()
            return losses(self, batch)

        monkeypatch.setattr(Stepper, "_losses", meeting)
        torch.set_num_threads(2)
        train(two)
    finally:
        torch.set_num_threads(threads)
    assert equal(weights(one), weights(two))


def test_out_of_memory_halves_the_micro_batch_and_keeps_the_step(job, monkeypatch, capsys) -> None:
    small = job("small", batch=2, gradient_accumulation=2, steps=2, optimizer="adamw")
    train(small)
    losses = Stepper._losses

    def cramped(self: Stepper, batch: Any) -> Any:
        if int((~batch.classes).sum()) > 1:  # on a CPU a half
            raise torch.OutOfMemoryError("no room")
        return losses(self, batch)

    monkeypatch.setattr(Stepper, "_losses", cramped)
    large = job("large", batch=4, steps=2, optimizer="adamw")
    train(large)
    assert "micro-batches of 2; a step still takes 4 photos" in capsys.readouterr().out
    assert equal(weights(small), weights(large))
    monkeypatch.setattr(Stepper, "_losses", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("no room")))
    with pytest.raises(torch.OutOfMemoryError):
        train(job("none", batch=4, steps=1))
