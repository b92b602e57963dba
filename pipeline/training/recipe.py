"""The training run as one story: load, choose what is learned, loop, save."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from tqdm import tqdm

from pipeline.base.components import Parts, load_parts
from pipeline.errors import UserError
from pipeline.params import Train
from pipeline.training.checkpoint import load_newest, save_checkpoint
from pipeline.training.data import Captions, Focus, Moments, Sample, Stream
from pipeline.training.export import export_model
from pipeline.training.learned import Learned, choose_learned
from pipeline.training.meter import Meter
from pipeline.training.optimizer import make_optimizer, schedule_factor, set_rates
from pipeline.training.state import Row, State
from pipeline.training.steps import Stepper, frozen_copy
from pipeline.training.stop import stop_signals
from pipeline.training.token import TokenError, expand, token_names
from pipeline.training.validation import Validation


class TrainingError(UserError):
    """Training cannot start or cannot go on."""


class TrainingStopped(UserError):
    """Training was asked to stop; a checkpoint holds everything up to there."""


@dataclass(frozen=True)
class Job:
    """What is trained on what: `base` a pipeline folder, samples of the base's size, `model` the folder to write.

    Without class images there is no prior preservation. `heldout` photos are never trained on; the loss on them is
    watched. `checkpoints` belongs to these very inputs: whatever lies in it is taken up.
    """

    base: Path
    variant: str | None
    photos: Sequence[Sample]
    class_images: Sequence[Sample]
    token: str
    class_noun: str
    params: Train
    checkpoints: Path
    model: Path
    heldout: Sequence[Sample] = field(default_factory=list)


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

    `on_log` gets one row every `log_every` steps (see `Meter.row`). A run that was stopped or killed goes on from its
    newest checkpoint.

    Raises:
        TrainingError: precision or batch impossible on this machine, or the loss is no longer finite.
        TrainingStopped: SIGTERM or SIGINT; the state is saved.
        TokenError: the placeholder token cannot be learned on this base.
        CheckpointError: no room for a checkpoint.
    """
    params = job.params
    accelerator = make_accelerator(params)
    parts = load_parts(job.base, job.variant)
    kept = frozen_copy(parts.unet, params) if job.class_images else None
    learned = choose_learned(parts, job.token, params)
    if params.token.learn:
        _check_captions(job, parts.tokenizer)
    if params.gradient_checkpointing:
        parts.unet.enable_gradient_checkpointing()
    parts.unet.train()
    streams, validation, captions = _material(job, parts, learned, accelerator.device)
    parts.unet.to(accelerator.device)
    optimizer = accelerator.prepare(make_optimizer(learned.groups, params))
    meter = Meter(len(parts.schedule.alphas_cumprod))
    state = State(learned, optimizer, accelerator, meter, params.ema)
    start = state.restore(load_newest(job.checkpoints), accelerator.device)
    stepper = Stepper(parts, learned, streams, captions, accelerator, params, kept)

    began = meter.began
    with (
        stop_signals() as stop,
        tqdm(total=params.steps, initial=start, desc="train", unit="step", mininterval=1) as bar,
    ):
        for step in range(start, params.steps):
            set_rates(optimizer, schedule_factor(params.schedule, step, params.steps, params.warmup_steps), step)
            stepper.run(step, meter)
            meter.norm(accelerator.clip_grad_norm_(learned.parameters, params.max_grad_norm))
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            state.average(step)
            done = step + 1
            bar.update()
            if validation and (done % params.validate_every == 0 or done == params.steps):
                state.validation = validation.loss(stepper)
            due = done % params.log_every == 0 or done == params.steps
            if due or accelerator.device.type == "cpu":
                _check_finite(meter, done, stepper, job.checkpoints)
            if due:
                row = state.log(done)
                bar.set_postfix(loss=f"{row['smooth_loss']:.4f}")
                on_log(row)
            if done % params.checkpoint_every == 0 or done == params.steps or stop.is_set():
                _check_finite(meter, done, stepper, job.checkpoints)
                path = save_checkpoint(job.checkpoints, state.take(done))
            if stop.is_set() and done < params.steps:
                raise TrainingStopped(
                    f"training was stopped after step {done} of {params.steps}; {path} holds its state, "
                    "and the same command goes on from there"
                )
    seconds = meter.began - began
    state.use_average()
    export_model(job, parts, learned)
    trained = (params.steps - start) * stepper.total
    return Totals(params.steps, start, seconds, trained / max(seconds, 1e-9), str(accelerator.device.type), state.rows)


def _material(
    job: Job, parts: Parts, learned: Learned, device: torch.device
) -> tuple[list[Stream], Validation | None, Captions]:
    """Encode photos and class images once; the VAE leaves the device again."""
    params = job.params
    parts.text_encoder.to(device)
    vae = parts.vae.to(device)
    moments = Moments(vae, job.photos, params.flip, device, "photos")
    focus = Focus(job.photos, moments, params.background_weight)
    if params.background_weight < 1 and focus.values is None:
        print("no photo has a mask: train.background_weight changes nothing")
    names = (f"{job.token} {job.class_noun}", job.token)
    streams = [
        Stream(
            "instance",
            job.photos,
            moments,
            params.caption_dropout,
            focus,
            params.offset_noise,
            tuple(f"a photo of {name}" for name in names),
            params.plain_captions,
        )
    ]
    if job.class_images and params.method == "textual-inversion":
        print("textual-inversion cannot change what class prompts draw: the class images are left out")
    elif job.class_images:
        moments = Moments(vae, job.class_images, params.flip, device, "class images")
        streams.append(Stream("class", job.class_images, moments, offset=params.offset_noise))
    validation = None
    if job.heldout and params.validate_every:
        validation = Validation(job.heldout, Moments(vae, job.heldout, False, device, "held-out photos"), params.seed)
    vae.to("cpu")
    known = learned.token.table.num_embeddings if learned.token else math.inf
    captions = Captions(
        parts.tokenizer,
        parts.text_encoder,
        device,
        lambda ids: learned.text_changes or max(ids) >= known,
        lambda text: expand(text, job.token, params.token.vectors) if learned.token else text,
    )
    return streams, validation, captions


def make_accelerator(params: Train) -> Accelerator:
    """The device and precision of a run.

    Raises:
        TrainingError: fp16 without a GPU, or more than one process.
    """
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
    names = token_names(job.token, job.params.token.vectors)
    rows = {tokenizer(name, add_special_tokens=False).input_ids[0] for name in names}
    length = tokenizer.model_max_length
    cut = []
    for sample in job.photos:
        text = expand(sample.caption, job.token, len(names))
        if not rows <= set(tokenizer(text, max_length=length, truncation=True).input_ids):
            cut.append(f"  {sample.file.name}: {sample.caption}")
    if cut:
        raise TokenError(
            f"{len(cut)} captions do not show the token '{job.token}' within the first {length} tokens that the "
            "base reads; shorten them:\n" + "\n".join(cut)
        )


def _check_finite(meter: Meter, done: int, stepper: Stepper, checkpoints: Path) -> None:
    bad = meter.first_bad()
    if bad is None:
        return
    step = done - len(meter.totals) + bad
    kept = sorted(checkpoints.glob("step-*"))
    last = f"the last good checkpoint is {kept[-1]}" if kept else "there is no checkpoint yet"
    names = ", ".join(Path(file).name for file in stepper.files(step))
    raise TrainingError(
        f"the loss is not finite at step {step + 1}, on {names}; {last}. "
        "Lower train.learning_rate, or use precision bf16 or fp32"
    )


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
