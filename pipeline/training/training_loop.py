"""The training run as one story: load, choose what is learned, loop, save."""

from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import Accelerator
from PIL import Image
from tqdm import tqdm

from pipeline.base.components import load_parts
from pipeline.errors import NotNow, UserError
from pipeline.training.candidates import save_candidate
from pipeline.training.checkpoint import load_newest, save_checkpoint, sweep
from pipeline.training.distributed import asked_to_stop, make_accelerator, reduce_gradients
from pipeline.training.encoding import check_captions, gather
from pipeline.training.export import export_model
from pipeline.training.job import Job, Totals
from pipeline.training.meter import Meter
from pipeline.training.optimizer import clip_gradients, make_optimizer, narrow_copies, schedule_factor, set_rates
from pipeline.training.precision import Narrowed, frozen_precision
from pipeline.training.preview import make_previewer
from pipeline.training.signals import stop_signals
from pipeline.training.state import Row, State
from pipeline.training.steps import Stepper, frozen_copy
from pipeline.training.trainable import choose_learned


class TrainingError(UserError):
    """Training cannot go on."""


class TrainingStopped(NotNow):
    """Training was asked to stop; a checkpoint holds everything up to there."""


def train(
    job: Job,
    on_log: Callable[[Row], None] = lambda row: None,
    on_preview: Callable[[int, Image.Image], None] = lambda step, picture: None,
) -> Totals:
    """Fine-tune the base on the job's photos and write a pipeline folder to `job.model`.

    `on_log` gets one row every `log_every` steps (see `Meter.row`), `on_preview` the previews of a step side by side.
    A run that was stopped or killed goes on from its newest checkpoint. Of several processes the first one writes,
    logs and draws.

    Raises:
        DeviceError: the precision is impossible on this machine, or the number of processes is another.
        TrainingError: the loss is no longer finite.
        TrainingStopped: SIGTERM or SIGINT; the state is saved.
        TokenError: the placeholder token cannot be learned on this base.
        CheckpointError: no room for a checkpoint.
    """
    params = job.params
    accelerator = make_accelerator(params)
    parts = load_parts(job.base, job.variant)
    kept = frozen_copy(parts.unet, params) if job.class_images else None
    learned = choose_learned(parts, job.token, params)
    check_captions(job, parts.tokenizer)
    narrow = Narrowed([parts.unet, parts.text_encoder] + ([kept] if kept else []), frozen_precision(params))
    streams, validation, captions = gather(job, parts, learned, accelerator.device)
    parts.unet.to(accelerator.device)
    optimizer = accelerator.prepare(make_optimizer(learned.groups, params))
    meter = Meter(len(parts.schedule.alphas_cumprod))
    state = State(learned, optimizer, accelerator, meter, params.ema)
    first = accelerator.is_main_process
    if first:
        sweep(job.checkpoints)
        sweep(job.candidates)
    start = state.restore(load_newest(job.checkpoints), accelerator.device)
    copies = narrow_copies(optimizer, learned.modules.values(), params)
    stepper = Stepper(parts, learned, streams, captions, accelerator, params, kept, copies)
    previewer = make_previewer(job, parts, captions, accelerator)

    began = meter.began
    with (
        stop_signals() as stop,
        tqdm(total=params.steps, initial=start, desc="train", unit="step", mininterval=1, disable=not first) as bar,
    ):
        for step in range(start, params.steps):
            set_rates(optimizer, schedule_factor(params.schedule, step, params.steps, params.warmup_steps), step)
            stepper.run(step, meter)
            reduce_gradients(learned.parameters, accelerator)
            meter.norm(clip_gradients(optimizer, learned.parameters, accelerator, params.max_grad_norm))
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            state.average(step)
            done = step + 1
            last = done == params.steps
            bar.update()
            if validation and (last or done % params.validate_every == 0):
                state.validation = validation.loss(stepper)
            due = last or done % params.log_every == 0
            if due or accelerator.device.type == "cpu":
                _check_finite(meter, done, stepper, job.checkpoints)
            if due:
                row = state.log(done)
                bar.set_postfix(loss=f"{row['smooth_loss']:.4f}")
                if first:
                    on_log(row)
            stopping = asked_to_stop(stop, accelerator, due)
            saving = last or stopping or done % params.checkpoint_every == 0
            if saving:
                _check_finite(meter, done, stepper, job.checkpoints)
            # The checkpoint comes last: a run that resumes from it takes all that this step writes as written.
            if first:
                save_candidate(job, done, state)
            if previewer and previewer.due(done, last) and (picture := previewer.draw(done)):
                on_preview(done, picture)
            if saving and first:
                save_checkpoint(job.checkpoints, state.take(done))
            if stopping and not last:
                raise TrainingStopped(
                    f"training was stopped after step {done} of {params.steps}; {job.checkpoints} holds its state, "
                    "and the same command goes on from there"
                )
    seconds = meter.began - began
    state.use_average()
    narrow.restore()
    if first:
        export_model(job, parts, learned)
    _together(accelerator)
    trained = (params.steps - start) * stepper.total
    return Totals(params.steps, start, seconds, trained / max(seconds, 1e-9), str(accelerator.device.type), state.rows)


def _together(accelerator: Accelerator) -> None:
    """All processes wait until the first has written the model."""
    if accelerator.num_processes > 1:
        torch.distributed.barrier()


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
