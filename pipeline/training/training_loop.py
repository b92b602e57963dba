"""The training run from start to end: load, select what is trained, loop, export."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from pipeline.base.components import load_parts
from pipeline.errors import NotNow, UserError
from pipeline.training.candidates import restore_candidate, save_candidate
from pipeline.training.captions import limit_tokenizer
from pipeline.training.checkpoint import CheckpointError, load_newest, remove_later, remove_partial, save_checkpoint
from pipeline.training.data import check_masks
from pipeline.training.disk import check_disk
from pipeline.training.distributed import make_accelerator, reduce_gradients, stop_requested, wait_for_all_processes
from pipeline.training.encoding import check_captions, encode_inputs
from pipeline.training.export import export_model
from pipeline.training.job import Job, TrainingSummary
from pipeline.training.memory import check_memory
from pipeline.training.meter import Meter
from pipeline.training.objective import check_schedule
from pipeline.training.optimizer import (
    clip_gradients,
    drop_stopped_gradients,
    make_low_precision_copies,
    make_optimizer,
    schedule_factor,
    set_learning_rates,
)
from pipeline.training.precision import frozen_precision, narrow_frozen_weights
from pipeline.training.preview import Previewer, make_previewer
from pipeline.training.signals import stop_signals
from pipeline.training.state import Row, State
from pipeline.training.steps import Stepper, frozen_copy
from pipeline.training.trainable import select_trainable

SKIPPED = 20  # steps in a row that a loss scaler skips before it is plain that no scale will do


class TrainingError(UserError):
    """Training diverged."""


class TrainingStopped(NotNow):
    """Training was asked to stop; a checkpoint holds its state."""


def train(
    job: Job,
    on_log: Callable[[Row], None] = lambda row: None,
    on_preview: Callable[[int, Image.Image], None] = lambda step, picture: None,
    on_start: Callable[[int, str], None] = lambda step, device: None,
) -> TrainingSummary:
    """Fine-tune the base on the job's photos and write a pipeline folder to `job.model`.

    A run that was stopped or killed resumes from its newest checkpoint. Of several processes only the first one
    writes, logs and draws.

    Args:
        job: the inputs and parameters.
        on_log: called with a row every `log_every` steps (see `Meter.close_row`).
        on_preview: called with the step and its preview pictures in one row.
        on_start: called once, before the first step, with the number of steps that are finished and the kind of device
            that trains (`cpu`, `cuda`); where all steps are finished, the one that trained the last of them.

    Raises:
        DeviceError: the precision or the number of processes is impossible on this machine.
        ObjectiveError: the base's prediction type is not supported.
        TargetError: `lora.targets` do not fit the U-Net.
        TokenError: the placeholder token cannot be learned on this base, or captions cut it off.
        MaskError: photos without any subject, with a background weight of 0.
        OptimizerError: bitsandbytes cannot run here.
        StateError: the checkpoint's weights are not those of this base.
        TrainingError: the loss or its gradients are no longer finite; in fp16, not at any loss scale.
        TrainingStopped: SIGTERM or SIGINT; the state is saved.
        CheckpointError: the disk is full, or too small for what the training will write; or a checkpoint may not be
            read. Where a candidate found no room, a checkpoint of its step is written if that does.
        MemoryTooSmall: the GPU cannot hold the training.
    """
    params = job.params
    accelerator = make_accelerator(params)
    check_memory(job, accelerator.device)
    parts = load_parts(job.base, job.variant)
    limit_tokenizer(parts)
    check_schedule(parts.schedule)
    frozen_unet = frozen_copy(parts.unet, params) if job.class_images else None
    trainable = select_trainable(parts, job.token, params)
    check_captions(job, parts.tokenizer)
    check_masks(job.photos, params.background_weight)
    if accelerator.is_main_process and not job.trial:
        check_disk(job, parts, trainable)
    frozen_modules = [parts.unet, parts.text_encoder] + ([frozen_unet] if frozen_unet else [])
    narrow_frozen_weights(frozen_modules, frozen_precision(params))
    inputs, validation = encode_inputs(job, parts, trainable, accelerator)
    parts.unet.to(accelerator.device)
    optimizer = accelerator.prepare(make_optimizer(trainable.groups, params))
    meter = Meter(len(parts.schedule.alphas_cumprod), accelerator.device, accelerator.num_processes)
    state = State(trainable, optimizer, accelerator, meter, params.ema)
    first = accelerator.is_main_process
    start = _resume(job, state, first, on_start)
    copies = make_low_precision_copies(optimizer, trainable.modules.values(), params)
    stepper = Stepper(parts, trainable, inputs, accelerator, params, frozen_unet, copies)
    previewer = make_previewer(job, parts, inputs.captions, accelerator)

    began, skipped = meter.began, 0
    with (
        stop_signals() as stop,
        tqdm(total=params.steps, initial=start, desc="train", unit="step", mininterval=1, disable=not first) as bar,
    ):
        for step in range(start, params.steps):
            factor = schedule_factor(params.schedule, step, params.steps, params.warmup_steps)
            set_learning_rates(optimizer, factor, step)
            stepper.accumulate_gradients(step, meter)
            drop_stopped_gradients(optimizer, step)
            asked = reduce_gradients(trainable.parameters, accelerator, stop.is_set())
            norm = clip_gradients(optimizer, trainable.parameters, accelerator, params.max_grad_norm)
            meter.add_gradient_norm(norm)
            optimizer.step()
            skipped = skipped + 1 if optimizer.step_was_skipped else 0
            optimizer.zero_grad(set_to_none=True)
            state.update_ema(step)
            done = step + 1
            last = done == params.steps
            bar.update()
            if validation and (last or done % params.validate_every == 0):
                with state.averaged():
                    state.validation = validation.loss(stepper)
            due = last or done % params.log_every == 0
            saves_candidate = params.save_every and done % params.save_every == 0
            if due or saves_candidate or accelerator.device.type == "cpu":
                _check_finite(meter, done, stepper, job.checkpoints)
            _check_overflow(skipped, done, accelerator.scaler, job.checkpoints)
            if due:
                row = state.log(done)
                state.timed_steps, state.seconds = done - start, meter.began - began
                bar.set_postfix(loss=f"{row['smooth_loss']:.4f}")
                if first:
                    on_log(row)
            stopping = stop_requested(stop, accelerator, asked)
            saving = last or stopping or done % params.checkpoint_every == 0
            if saving:
                _check_finite(meter, done, stepper, job.checkpoints)
            # The checkpoint is written last: a run that resumes from it takes row, candidate and preview as written.
            refused = _save_candidate(job, done, state) if first else None
            if picture := _draw_preview(previewer, state, done, last):
                on_preview(done, picture)
            if first and (saving or refused):  # a candidate needs the room that the checkpoint may still find
                save_checkpoint(job.checkpoints, state.to_checkpoint(done))
            if refused:
                raise refused
            if stopping and not last:
                wait_for_all_processes(accelerator)  # the launcher gives the others little time once one has ended
                raise TrainingStopped(
                    f"training was stopped after step {done} of {params.steps}; its state is saved in "
                    f"{job.checkpoints}: run the same command again to resume"
                )
    state.apply_ema()
    if first:
        export_model(job, parts, trainable)
    wait_for_all_processes(accelerator)
    steps, seconds = state.timed_steps, state.seconds
    speed = steps * stepper.total / max(seconds, 1e-9)
    return TrainingSummary(params.steps, start, steps, seconds, speed, state.device, state.rows)


def _resume(job: Job, state: State, first: bool, on_start: Callable[[int, str], None]) -> int:
    """Load the newest checkpoint, if any, and return the number of finished steps; for `on_start` see `train`."""
    if first:
        remove_partial(job.checkpoints)
        remove_partial(job.candidates)
    remedy = f"remove {job.checkpoints} to train from the start"
    start = state.load_checkpoint(load_newest(job.checkpoints), state.accelerator.device, remedy)
    if first:
        remove_later(job.checkpoints, start)
    if first and start:
        restore_candidate(job, start, state)
    if start < job.params.steps:
        state.device = state.accelerator.device.type
    if first:
        on_start(start, state.device)
    return start


def _save_candidate(job: Job, done: int, state: State) -> CheckpointError | None:
    """Save the candidate of a step, if it has one, and return what kept it from being written."""
    try:
        save_candidate(job, done, state)
    except CheckpointError as error:
        return error
    return None


def _draw_preview(previewer: Previewer | None, state: State, done: int, last: bool) -> Image.Image | None:
    """The preview of a step, if one is due, drawn with the weights that an export of the step would hold."""
    if previewer is None or not previewer.due(done, last):
        return None
    with state.averaged():
        return previewer.draw(done)


def _check_finite(meter: Meter, done: int, stepper: Stepper, checkpoints: Path) -> None:
    """Raise a `TrainingError` if a loss or gradient since the last row is not finite.

    Gradients under a loss scaler (fp16) may overflow: it skips such steps (see `_check_overflow`).
    """
    bad = meter.first_nonfinite_step(gradients=stepper.accelerator.scaler is None)
    if bad is None:
        return
    index, figure = bad
    step = done - len(meter.totals) + index
    names = ", ".join(Path(file).name for file in stepper.photo_files(step))
    raise TrainingError(
        f"the {figure} is not finite at step {step + 1}, on {names}; {_last_checkpoint(checkpoints)}. "
        "Lower train.learning_rate, or set train.precision to bf16 or fp32"
    )


def _check_overflow(skipped: int, done: int, scaler: Any, checkpoints: Path) -> None:
    """Raise a `TrainingError` where the loss scaler (fp16) skipped so many steps in a row that no smaller scale will
    help: the training would come to its end and change nothing.
    """
    if skipped >= SKIPPED:
        raise TrainingError(
            f"the gradients overflow fp16: the last {skipped} steps up to step {done} changed nothing, at a loss scale "
            f"of {scaler.get_scale():g}; {_last_checkpoint(checkpoints)}. "
            "Set train.precision to bf16 or fp32, or lower train.learning_rate"
        )


def _last_checkpoint(checkpoints: Path) -> str:
    saved = sorted(checkpoints.glob("step-*"))
    return f"the last good checkpoint is {saved[-1]}" if saved else "there is no checkpoint yet"
