"""The training run as one story: load, set up, loop, save."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from tqdm import tqdm

from pipeline.base.components import load_parts
from pipeline.errors import UserError
from pipeline.params import Train
from pipeline.training.checkpoint import Checkpoint, load_newest, save_checkpoint
from pipeline.training.data import Batch, Captions, Focus, Moments, Sample, Stream
from pipeline.training.export import export_model
from pipeline.training.objective import dreambooth_loss, sample_losses, snr_weights, training_target
from pipeline.training.optimizer import (
    make_optimizer,
    optimizer_state,
    parameter_group,
    restore_optimizer,
    schedule_factor,
    set_rates,
)
from pipeline.training.precision import fast_attention
from pipeline.training.token import ExtendedEmbedding, TokenError, add_token

Row = dict[str, float]


class TrainingError(UserError):
    """Training cannot start or cannot go on."""


class TrainingStopped(UserError):
    """Training was asked to stop; a checkpoint holds everything up to there."""


@dataclass(frozen=True)
class Job:
    """What is trained on what: `base` a pipeline folder, samples of the base's size, `model` the folder to write.

    Without class images there is no prior preservation. `checkpoints` belongs to these very inputs: whatever lies in
    it is taken up.
    """

    base: Path
    variant: str | None
    photos: Sequence[Sample]
    class_images: Sequence[Sample]
    token: str
    params: Train
    checkpoints: Path
    model: Path


@dataclass(frozen=True)
class Totals:
    """The run in numbers; `rows` is the curve, `resumed_from` the step of the checkpoint it went on from (0: none)."""

    steps: int
    resumed_from: int
    seconds: float
    images_per_second: float
    device: str
    rows: list[Row]


def train(job: Job, on_log: Callable[[Row], None] = lambda row: None) -> Totals:
    """Fine-tune the base on the job's photos and write a pipeline folder to `job.model`.

    `on_log` gets one row every `log_every` steps: step, losses (means since the last row), learning_rate and
    images_per_second. A run that was stopped or killed goes on from its newest checkpoint.

    Raises:
        TrainingError: precision or batch impossible on this machine, or the loss is no longer finite.
        TrainingStopped: SIGTERM or SIGINT; the state is saved.
        TokenError: the placeholder token cannot be learned on this base.
        CheckpointError: no room for a checkpoint.
    """
    params = job.params
    accelerator = _accelerator(params)
    device = accelerator.device
    parts = load_parts(job.base, job.variant)
    unet, text_encoder = parts.unet, parts.text_encoder.requires_grad_(False)
    text_encoder.eval()
    groups = [parameter_group("unet", unet.parameters(), params.learning_rate, params.weight_decay)]
    if params.text_encoder.learn:
        learned = _body(text_encoder)
        for parameter in learned:
            parameter.requires_grad_()
        groups.append(parameter_group("text_encoder", learned, params.text_encoder.learning_rate, params.weight_decay))
    token = None
    if params.token.learn:
        token = add_token(parts.tokenizer, text_encoder, job.token, params.token.start_from)
        groups.append(parameter_group("token", [token.rows], params.token.learning_rate, 0.0))
        _check_captions(job, parts.tokenizer)
    if params.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    unet.train()
    text_encoder.to(device)

    vae = parts.vae.to(device)
    dropout = params.caption_dropout
    moments = Moments(vae, job.photos, params.flip, device, "photos")
    focus = Focus(job.photos, moments, params.background_weight)
    if params.background_weight < 1 and focus.values is None:
        print("no photo has a mask: train.background_weight changes nothing")
    streams = [Stream("instance", job.photos, moments, dropout, focus)]
    if job.class_images:
        moments = Moments(vae, job.class_images, params.flip, device, "class images")
        streams.append(Stream("class", job.class_images, moments))
    vae.to("cpu")
    known = token.table.num_embeddings if token else math.inf
    captions = Captions(
        parts.tokenizer, text_encoder, device, lambda ids: params.text_encoder.learn or max(ids) >= known
    )

    optimizer = make_optimizer(groups, params)
    run_unet, optimizer = accelerator.prepare(unet, optimizer)
    state = State(unet, text_encoder, token, optimizer, accelerator, params)
    start = state.restore(load_newest(job.checkpoints), device)
    alphas = parts.schedule.alphas_cumprod.to(device)
    kind = parts.schedule.config.prediction_type
    weight_total = params.batch * params.gradient_accumulation

    def micro_step(batch: Batch, instances: int) -> dict[str, torch.Tensor]:
        latents, noises = batch.latents.to(device), batch.noises.to(device)
        timesteps = batch.timesteps.to(device)
        noisy = parts.schedule.add_noise(latents, noises, timesteps)
        with accelerator.autocast(), fast_attention(device.type):
            predicted = run_unet(noisy, timesteps, captions.states(batch.captions)).sample
        target = training_target(parts.schedule, latents, noises, timesteps)
        weights = snr_weights(alphas, timesteps, params.snr_gamma, kind)
        return dreambooth_loss(
            sample_losses(predicted, target, batch.focus.to(device)), weights, instances, params.prior_weight
        )

    began = time.monotonic()
    logged_at, logged_step = began, start
    with (
        _stop_signals() as stop,
        tqdm(total=params.steps, initial=start, desc="train", unit="step", mininterval=1) as bar,
    ):
        for step in range(start, params.steps):
            set_rates(optimizer, schedule_factor(params.schedule, step, params.steps, params.warmup_steps))
            for micro in range(params.gradient_accumulation):
                places = range(micro * params.batch, (micro + 1) * params.batch)
                drawn = [stream.draw(params.seed, step, places, weight_total, len(alphas)) for stream in streams]
                batch = drawn[0] + drawn[1] if len(drawn) > 1 else drawn[0]
                losses = micro_step(batch, params.batch)
                seen = {name: float(loss.detach()) for name, loss in losses.items()}
                if not math.isfinite(seen["loss"]):
                    raise _not_finite(step, drawn[0].files, job.checkpoints)
                accelerator.backward(losses["loss"] / params.gradient_accumulation)
                state.count(seen)
            accelerator.clip_grad_norm_(state.parameters, params.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            done = step + 1
            bar.update()
            if done % params.log_every == 0 or done == params.steps:
                now = time.monotonic()
                speed = (done - logged_step) * weight_total / max(now - logged_at, 1e-9)
                logged_at, logged_step = now, done
                row = state.log(done, optimizer.param_groups[0]["lr"], speed)
                bar.set_postfix(loss=f"{row['loss']:.4f}")
                on_log(row)
            if done % params.checkpoint_every == 0 or done == params.steps or stop.is_set():
                path = save_checkpoint(job.checkpoints, state.take(done))
            if stop.is_set() and done < params.steps:
                raise TrainingStopped(
                    f"training was stopped after step {done} of {params.steps}; {path} holds its state, "
                    "and the same command goes on from there"
                )
    seconds = time.monotonic() - began
    export_model(job.base, job.variant, job.model, parts.tokenizer, text_encoder, accelerator.unwrap_model(unet))
    trained = (params.steps - start) * weight_total
    return Totals(params.steps, start, seconds, trained / max(seconds, 1e-9), str(device.type), state.rows)


class State:
    """All that changes while training, to be saved and put back."""

    def __init__(
        self,
        unet: Any,
        text_encoder: Any,
        token: ExtendedEmbedding | None,
        optimizer: Any,
        accelerator: Accelerator,
        params: Train,
    ):
        self.modules = {"unet": unet}
        if params.text_encoder.learn:
            self.modules["text_encoder"] = text_encoder
        elif token is not None:
            self.modules["token"] = token
        self.optimizer, self.accelerator = optimizer, accelerator
        self.parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self.rows: list[Row] = []
        self.sums: dict[str, float] = {}
        self.counted = 0

    def count(self, losses: dict[str, float]) -> None:
        """Add the losses of one micro-batch to the means of the next row."""
        self.counted += 1
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def log(self, step: int, rate: float, speed: float) -> Row:
        """Close a row of the curve."""
        row: Row = {"step": step, **{name: value / self.counted for name, value in self.sums.items()}}
        row |= {"learning_rate": rate, "images_per_second": round(speed, 2)}
        self.rows.append(row)
        self.sums, self.counted = {}, 0
        return row

    def take(self, step: int) -> Checkpoint:
        """A checkpoint after `step` steps; the frozen part of an extended table stays out of it."""
        tensors = {name: _learned(module) for name, module in self.modules.items()}
        tensors["optimizer"], plain = optimizer_state(_inner(self.optimizer))
        values = {"optimizer": plain, "rows": self.rows, "sums": self.sums, "counted": self.counted}
        if self.accelerator.scaler is not None:
            values["scaler"] = self.accelerator.scaler.state_dict()
        return Checkpoint(step, tensors, values)

    def restore(self, checkpoint: Checkpoint | None, device: torch.device) -> int:
        """Put a checkpoint back (None: nothing to do) and tell how many steps are done."""
        if checkpoint is None:
            return 0
        for name, module in self.modules.items():
            module.load_state_dict(checkpoint.tensors[name], strict=False)
            module.to(device)
        restore_optimizer(_inner(self.optimizer), checkpoint.tensors["optimizer"], checkpoint.values["optimizer"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(checkpoint.values["scaler"])
        self.rows, self.sums = checkpoint.values["rows"], checkpoint.values["sums"]
        self.counted = checkpoint.values["counted"]
        print(f"going on from step {checkpoint.step}")
        return checkpoint.step


def _learned(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


def _inner(optimizer: Any) -> torch.optim.Optimizer:
    return getattr(optimizer, "optimizer", optimizer)


def _body(text_encoder: Any) -> list[torch.nn.Parameter]:
    """All of the text encoder but its token table: known words keep their rows."""
    table = text_encoder.get_input_embeddings().weight
    return [parameter for parameter in text_encoder.parameters() if parameter is not table]


def _accelerator(params: Train) -> Accelerator:
    mode = "no" if params.precision == "fp32" else params.precision
    if params.precision == "fp16" and not torch.cuda.is_available():
        raise TrainingError("train.precision is fp16, which needs a GPU; use bf16 or fp32 here")
    AcceleratorState._reset_state()  # it outlives its run, and would hold the next one to this precision
    accelerator = Accelerator(mixed_precision=mode, gradient_accumulation_steps=1)
    if accelerator.num_processes > 1:
        raise TrainingError(
            f"training runs in one process, found {accelerator.num_processes}; start it without a launcher"
        )
    return accelerator


def _check_captions(job: Job, tokenizer: Any) -> None:
    """Refuse captions so long that the token is cut off."""
    (row,) = tokenizer(job.token, add_special_tokens=False).input_ids
    length = tokenizer.model_max_length
    cut = [
        f"  {sample.file.name}: {sample.caption}"
        for sample in job.photos
        if row not in tokenizer(sample.caption, max_length=length, truncation=True).input_ids
    ]
    if cut:
        raise TokenError(
            f"{len(cut)} captions do not show the token '{job.token}' within the first {length} tokens that the "
            "base reads; shorten them:\n" + "\n".join(cut)
        )


def _not_finite(step: int, files: list[str], checkpoints: Path) -> TrainingError:
    kept = sorted(checkpoints.glob("step-*"))
    last = f"the last good checkpoint is {kept[-1]}" if kept else "there is no checkpoint yet"
    return TrainingError(
        f"the loss is not finite at step {step + 1}, on {', '.join(Path(file).name for file in files)}; {last}. "
        "Lower train.learning_rate, or use precision bf16 or fp32"
    )


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set while training runs in the main thread."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    old = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def totals_as_json(totals: Totals) -> dict[str, Any]:
    """The totals without the curve, losses of the last row included."""
    value = asdict(totals)
    rows = value.pop("rows")
    last = {name: number for name, number in rows[-1].items() if name.endswith("loss")} if rows else {}
    return {
        **value,
        "seconds": round(totals.seconds, 1),
        "images_per_second": round(totals.images_per_second, 2),
        **last,
    }
