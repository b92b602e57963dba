import os
import resource
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from pipeline.base.components import load_parts
from pipeline.files import digest_file, read_json, write_json
from pipeline.training import training_loop
from pipeline.training.candidates import export_candidate
from pipeline.training.checkpoint import CheckpointError
from pipeline.training.data import LatentMoments, LossMask, MaskError, Sample, plain_views
from pipeline.training.distributed import DeviceError
from pipeline.training.state import StateError
from pipeline.training.steps import Stepper
from pipeline.training.token import TokenError, token_ids
from pipeline.training.training_loop import TrainingError, TrainingStopped, train
from tests.tiny import SIZE
from tests.training.jobs import TEXT, TOKEN, equal, weights


def test_with_masks_the_background_counts_less(job, tmp_path: Path) -> None:
    mask = Image.new("L", (SIZE, SIZE), 0)
    mask.paste(255, (0, 0, SIZE // 2, SIZE))
    mask.save(tmp_path / "mask.png")
    whole, masked, other = job("whole", steps=2), job("masked", steps=2, background_weight=0.0), job("other", steps=2)
    masked = replace(masked, photos=[replace(photo, mask=tmp_path / "mask.png") for photo in masked.photos])
    other = replace(other, photos=masked.photos)  # masks, but a background weight of 1
    first = train(whole).rows[0]["instance_loss"]
    assert train(other).rows[0]["instance_loss"] == first
    assert equal(weights(whole), weights(other))
    assert train(masked).rows[0]["instance_loss"] != first
    assert not equal(weights(whole), weights(masked))


def test_a_mask_is_mirrored_with_its_photo(job, tmp_path: Path) -> None:
    mask = Image.new("L", (SIZE, SIZE), 0)
    mask.paste(255, (0, 0, SIZE // 2, SIZE))
    mask.save(tmp_path / "mask.png")
    photos = [replace(job().photos[0], mask=tmp_path / "mask.png"), job().photos[1]]
    views = plain_views(photos, flip=True)
    moments = LatentMoments(load_parts(job().base).vae, photos, views, torch.device("cpu"), "photos")
    focus, latent = LossMask(photos, moments, 0.25), torch.zeros(4, 16, 16)
    assert focus.of(0, 0, latent)[0, 0].tolist() == [1.0] * 8 + [0.25] * 8
    assert focus.of(0, 1, latent)[0, 0].tolist() == [0.25] * 8 + [1.0] * 8
    assert focus.of(1, 0, latent).unique().tolist() == [1.0]


def test_training_moves_the_unet_and_the_token_and_no_other_row(job, tiny_base: Path) -> None:
    done = job(steps=3, token=TOKEN)
    train(done)
    before, after = load_parts(tiny_base), load_parts(done.model)
    old, new = (parts.text_encoder.get_input_embeddings().weight for parts in (before, after))
    assert len(new) == len(old) + 1
    assert torch.equal(new[:-1], old)
    start = old[token_ids(before.tokenizer, "plush toy")].mean(dim=0)
    assert (new[-1] - start).abs().max() > 1e-3
    assert token_ids(after.tokenizer, "mysks") == [len(old)]
    pairs = zip(before.unet.parameters(), after.unet.parameters(), strict=True)
    assert all(not torch.equal(one, other) for one, other in pairs)
    for name, tensor in load_file(tiny_base / TEXT).items():
        if "token_embedding" not in name:
            assert torch.equal(tensor, load_file(done.model / TEXT)[name]), name
    assert (done.model / "vae").is_dir()
    assert str(tiny_base) not in "".join(path.read_text() for path in done.model.rglob("*.json"))


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "adamw"},
        {"optimizer": "adamw-8bit", "ema": 0.9},
        {"optimizer": "adafactor", "prior": {"kind": "prediction", "weight": 0.5}},
        {"optimizer": "muon", "text_encoder": {"learn": True, "learning_rate": 1e-3}},
        {"optimizer": "prodigy", "learning_rate": 1.0, "token": {**TOKEN, "learning_rate": 1.0}, "offset_noise": 0.1},
        {
            "method": "dreambooth-lora",
            "optimizer": "adamw-8bit",
            "text_encoder": {"learn": True, "learning_rate": 1e-3},
        },
        {"method": "dreambooth-lora", "lora": {"rank": 4, "alpha": 2, "dora": True, "targets": ["to_q", "to_v"]}},
        {"method": "textual-inversion", "token": {**TOKEN, "vectors": 3, "stop_after": 0.9}},
    ],
    ids=lambda changes: "-".join(str(value) for value in changes.values() if isinstance(value, str | float)),
)
def test_a_stopped_run_ends_in_the_very_weights_of_an_unbroken_one(job, changes: dict[str, Any]) -> None:
    settings = {"steps": 6, "checkpoint_every": 2, "schedule": "cosine", "flip": True, **changes}
    whole = job("whole", **settings)
    curve = train(whole).rows
    broken = job("broken", **settings)

    def stop(row: dict[str, float]) -> None:
        if row["step"] == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(TrainingStopped, match="after step 3 of 6"):
        train(broken, stop)
    assert not broken.model.exists()
    totals = train(broken)
    assert totals.resumed_from == 3
    assert equal(weights(whole), weights(broken))
    changing = {"images_per_second", "memory_gb"}
    strip = [[{k: v for k, v in row.items() if k not in changing} for row in rows] for rows in (curve, totals.rows)]
    assert strip[0] == strip[1]


def test_a_killed_run_goes_on_from_its_last_checkpoint(job) -> None:
    whole = job("whole", steps=5, checkpoint_every=2)
    train(whole)
    killed = job("killed", steps=5, checkpoint_every=2)

    class Killed(BaseException):
        pass

    def kill(row: dict[str, float]) -> None:
        if row["step"] == 5:
            raise Killed

    with pytest.raises(Killed):
        train(killed, kill)
    assert train(killed).resumed_from == 4
    assert equal(weights(whole), weights(killed))


def test_beside_damaged_checkpoints_a_run_keeps_its_own(job) -> None:
    run = job("run", steps=2, checkpoint_every=1)
    for step in (8, 9):
        damaged = run.checkpoints / f"step-{step:08d}"
        damaged.mkdir(parents=True)
        (damaged / "state.json").write_text("{")
    assert train(run).resumed_from == 0
    assert sorted(path.name for path in run.checkpoints.glob("step-*")) == ["step-00000001", "step-00000002"]


def test_a_disk_that_fills_up_in_mid_training_leaves_the_last_checkpoint(job) -> None:
    """The kernel refuses longer files, as it does on a full disk; with room again, training goes on."""
    whole, full = job("whole", steps=4, checkpoint_every=2), job("full", steps=4, checkpoint_every=2)
    train(whole)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(row: dict[str, float]) -> None:
        if row["step"] == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))

    try:
        with pytest.raises(CheckpointError, match=r"could not be written .* earlier checkpoints are intact"):
            train(full, fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in full.checkpoints.glob("*step*")] == ["step-00000002"]
    assert train(full).resumed_from == 2
    assert equal(weights(whole), weights(full))


def test_accumulation_gives_the_update_of_one_large_batch(job) -> None:
    same = {"steps": 2, "optimizer": "adamw", "learning_rate": 1e-5, "token": {**TOKEN, "learning_rate": 1e-5}}
    large = job("large", batch=4, **same)
    small = job("small", batch=2, gradient_accumulation=2, **same)
    one, other = train(large), train(small)
    assert one.rows[-1]["loss"] == pytest.approx(other.rows[-1]["loss"], rel=1e-4)
    found = weights(small)
    for name, tensor in weights(large).items():
        assert torch.allclose(tensor, found[name], atol=2e-6), name


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_gradient_checkpointing_changes_no_weight(job, precision: str) -> None:
    plain, saving = (job(str(on), steps=2, precision=precision, gradient_checkpointing=on) for on in (False, True))
    train(plain)
    train(saving)
    assert equal(weights(plain), weights(saving))


def test_the_text_encoder_is_learned_only_when_asked(job, tiny_base: Path) -> None:
    done = job(steps=2, text_encoder={"learn": True, "learning_rate": 1e-3})
    train(done)
    before, after = load_file(tiny_base / TEXT), load_file(done.model / TEXT)
    moved = {name for name in before if not torch.equal(before[name], after[name][: len(before[name])])}
    assert any("mlp" in name for name in moved)
    assert not any("token_embedding" in name for name in moved)


def test_without_the_token_the_vocabulary_stays(job, tiny_base: Path) -> None:
    done = job(steps=1, token={"learn": False, "learning_rate": 1e-3, "start_from": "toy"})
    train(done)
    assert equal(load_file(tiny_base / TEXT), load_file(done.model / TEXT))


def test_without_class_images_there_is_no_prior_loss(job) -> None:
    assert "prior_loss" not in train(job(class_images=False, steps=1)).rows[0]
    assert train(job("with", steps=1)).rows[0]["prior_loss"] > 0


@pytest.mark.parametrize("optimizer", ["adamw", "adamw-8bit"])
def test_precisions_give_nearly_the_same_losses(job, optimizer: str) -> None:
    """With 8-bit AdamW on a CPU, bf16 steps compute with copies of the weights; with AdamW, autocast casts them."""
    exact, rounded = (
        train(job(precision, steps=2, precision=precision, optimizer=optimizer)).rows[-1]["loss"]
        for precision in ("fp32", "bf16")
    )
    assert rounded == pytest.approx(exact, rel=0.02)
    assert rounded != exact


@pytest.mark.may_skip
def test_fp16_is_refused_without_a_gpu(job) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(DeviceError, match="needs a GPU"):
        train(job(precision="fp16"))


def test_a_loss_that_is_not_finite_names_step_photos_and_checkpoint(job) -> None:
    bad = job(steps=6, checkpoint_every=1, learning_rate=1.0, max_grad_norm=1e9, optimizer="adamw")

    def poison(row: dict[str, float]) -> None:
        if row["step"] == 2:
            monkey.setattr(
                "pipeline.training.steps.dreambooth_loss",
                lambda *_: {"loss": torch.tensor(float("nan"), requires_grad=True)},
            )

    with pytest.MonkeyPatch.context() as monkey, pytest.raises(TrainingError) as caught:
        train(bad, poison)
    message = str(caught.value)
    assert "not finite at step 3" in message
    assert ".png" in message
    assert "step-00000002" in message
    assert not bad.model.exists()


def test_a_caption_that_hides_the_token_is_refused_before_training(job, tmp_path: Path) -> None:
    late = job()
    late.photos[0] = Sample(late.photos[0].file, "word " * 30 + "mysks")
    with pytest.raises(TokenError, match="shorten them"):
        train(late)


def test_learning_something_lowers_the_loss(job) -> None:
    rows = train(job(steps=60, batch=3, class_images=False, learning_rate=3e-3, log_every=10)).rows
    assert rows[-1]["loss"] < 0.85 * rows[0]["loss"]


def test_gradients_that_are_not_finite_stop_a_run_whose_loss_is_finite(job) -> None:
    bad = job(steps=6, checkpoint_every=1, optimizer="adamw")
    reduce = training_loop.reduce_gradients

    def poison(parameters: Any, accelerator: Any, asked: bool) -> bool:
        if bad.checkpoints.joinpath("step-00000002").is_dir():
            parameters[0].grad.fill_(float("inf"))
        return reduce(parameters, accelerator, asked)

    stops = pytest.raises(TrainingError, match="the gradient is not finite at step 3")
    with pytest.MonkeyPatch.context() as monkey, stops:
        monkey.setattr(training_loop, "reduce_gradients", poison)
        train(bad)
    saved = load_file(bad.checkpoints / "step-00000002" / "unet.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in saved.values())
    assert not bad.model.exists() and not (bad.checkpoints / "step-00000003").exists()


@pytest.mark.parametrize(
    ("overflowing", "ends", "scale"),
    [(range(2, 5), True, 65536.0), (range(2, 5), True, 1.0), (range(2, 99), False, 65536.0)],
    ids=["some", "some at a small scale", "all"],
)
def test_a_run_whose_every_step_overflows_under_a_loss_scaler_ends_with_a_remedy(
    job, monkeypatch: pytest.MonkeyPatch, overflowing: range, ends: bool, scale: float
) -> None:
    """On a CPU, with a loss scaler as fp16 has one."""
    scaled = job(steps=40, batch=1, checkpoint_every=2, optimizer="adamw", class_images=False)
    make, reduce, calls = training_loop.make_accelerator, training_loop.reduce_gradients, []

    def with_scaler(params: Any) -> Any:
        accelerator = make(params)
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        return accelerator

    def overflow(parameters: Any, accelerator: Any, asked: bool) -> bool:
        if len(calls) in overflowing:
            parameters[0].grad.fill_(float("inf"))
        calls.append(asked)
        return reduce(parameters, accelerator, asked)

    monkeypatch.setattr(training_loop, "make_accelerator", with_scaler)
    monkeypatch.setattr(training_loop, "reduce_gradients", overflow)
    if ends:
        train(scaled)
        return
    with pytest.raises(TrainingError, match=r"the gradients overflow fp16.*Set train.precision"):
        train(scaled)
    assert len(calls) == 2 + training_loop.SKIPPED and not scaled.model.exists()


def test_a_candidate_that_does_not_fit_costs_no_step_where_the_checkpoint_does(job, monkeypatch) -> None:
    settings = {"steps": 4, "save_every": 3, "checkpoint_every": 2}
    whole, cramped = job("whole", **settings), job("cramped", **settings)
    train(whole)

    def refuse(job: Any, step: int, state: Any) -> None:
        if step == 3:
            raise CheckpointError("no room")

    with monkeypatch.context() as patch, pytest.raises(CheckpointError, match="no room"):
        patch.setattr(training_loop, "save_candidate", refuse)
        train(cramped)
    assert train(cramped).resumed_from == 3
    assert (cramped.candidates / "step-00000003").is_dir()
    assert equal(weights(whole), weights(cramped))


def rename_tensors(folder: Path, rename: Callable[[str], str]) -> None:
    """Give the text encoder's tensors in a checkpoint other names, as other versions of transformers do."""
    file, state = folder / "text_encoder.safetensors", read_json(folder / "state.json")
    save_file({rename(name): tensor for name, tensor in load_file(file).items()}, file)
    state["files"][file.name] = digest_file(file)
    write_json(folder / "state.json", state)


def other_prefix(name: str) -> str:
    return name.removeprefix("text_model.") if name.startswith("text_model.") else f"text_model.{name}"


def test_saved_weights_are_loaded_under_both_names_of_transformers_and_refused_under_others(job) -> None:
    learn = {"learn": True, "learning_rate": 1e-3}
    settings = {"steps": 4, "save_every": 2, "checkpoint_every": 2, "optimizer": "adamw", "text_encoder": learn}
    whole, broken = job("whole", **settings), job("broken", **settings)
    train(whole)
    with pytest.raises(RuntimeError, match="gone"):
        train(broken, lambda row: stop_at(row, 3))
    chosen, saved = (folder / "step-00000002" for folder in (broken.candidates, broken.checkpoints))
    models = [replace(broken, model=broken.model.parent / name) for name in ("before", "after")]
    export_candidate(broken, chosen, models[0].model)
    for folder in (chosen, saved):
        rename_tensors(folder, other_prefix)
    export_candidate(broken, chosen, models[1].model)
    assert equal(weights(models[0]), weights(models[1]))
    for folder in (chosen, saved):
        rename_tensors(folder, lambda name: name.replace("layer_norm1", "norm1"))
    with pytest.raises(StateError, match=r"step 2, text_encoder: .* the model has no .*norm1") as refused:
        train(broken)
    assert f"remove {broken.checkpoints} to" in str(refused.value)  # and nothing else that lies below .dreamtrace
    with pytest.raises(StateError, match=r"step-00000002.*dvc repro -f -s train"):
        export_candidate(broken, chosen, models[1].model.parent / "other")
    rename_tensors(saved, lambda name: name.replace(".norm1", ".layer_norm1"))
    assert train(broken).resumed_from == 2
    assert equal(weights(whole), weights(broken))


def stop_at(row: dict[str, float], step: int) -> None:
    if row["step"] == step:
        raise RuntimeError("gone")


def test_textual_inversion_learns_nothing_from_captions_that_were_dropped(job) -> None:
    settings = {"method": "textual-inversion", "batch": 1, "steps": 6, "token": {**TOKEN, "learning_rate": 0.1}}
    rare, never = job("rare", caption_dropout=0.99, **settings), job("never", caption_dropout=0.0, **settings)
    rows = [load_file(done.model / "embeddings" / "mysks.safetensors") for done in (rare, never) if train(done)]
    start = load_parts(rare.base).text_encoder.get_input_embeddings().weight
    words = token_ids(load_parts(rare.base).tokenizer, "plush toy")
    moved = [(found["mysks"] - start[words].mean(dim=0)).abs().max() for found in rows]
    assert moved[0] == 0 < moved[1]


def test_photos_whose_subject_was_cropped_off_are_refused_where_the_background_counts_nothing(job, tmp_path) -> None:
    Image.new("L", (SIZE, SIZE), 0).save(tmp_path / "black.png")
    cropped = job(steps=1, background_weight=0.0)
    cropped.photos[1] = replace(cropped.photos[1], mask=tmp_path / "black.png")
    with pytest.raises(MaskError, match=r"1 photo show no subject after the crop: 1\.png"):
        train(cropped)


def test_the_prior_is_the_base_s_prediction_although_the_text_encoder_learns(job, monkeypatch) -> None:
    asked: list[torch.Tensor] = []
    predict = Stepper._prior

    def watched(self: Stepper, noisy: torch.Tensor, timesteps: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        asked.append(states[0].clone())
        return predict(self, noisy, timesteps, states)

    monkeypatch.setattr(Stepper, "_prior", watched)
    learn = {"learn": True, "learning_rate": 0.05}
    done = job(steps=3, optimizer="adamw", text_encoder=learn, prior={"kind": "prediction", "weight": 1.0})
    train(done)
    assert all(torch.equal(states, asked[0]) for states in asked) and len(asked) == 6  # two halves of each step
    before, after = load_file(done.base / TEXT), load_file(done.model / TEXT)
    assert any(not torch.equal(tensor, after[name][: len(tensor)]) for name, tensor in before.items())
