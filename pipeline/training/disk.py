"""Whether the disk holds what a training will write, before it starts."""

import shutil
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.base.components import Parts
from pipeline.errors import in_units
from pipeline.params import Train
from pipeline.training.checkpoint import KEEP, CheckpointError, is_written
from pipeline.training.estimate import state_bytes
from pipeline.training.trainable import Trainable

if TYPE_CHECKING:
    from pipeline.training.job import Job


@dataclass(frozen=True)
class DiskNeed:
    """Bytes that a training writes, at the most it has on the disk at once."""

    checkpoints: int
    candidates: int
    model: int

    @property
    def total(self) -> int:
        return self.checkpoints + self.candidates + self.model


def disk_need(parts: Parts, trainable: Trainable, params: Train) -> DiskNeed:
    """What a whole training leaves in its folder: checkpoints (those kept, and one being written), candidates, and the
    model in float32.
    """
    learned = sum(parameter.nbytes for parameter in trainable.parameters)
    states = sum(state_bytes(parameter.shape, params.optimizer) for parameter in trainable.parameters)
    checkpoint = learned * (2 if params.ema else 1) + states
    saves = ceil(params.steps / params.checkpoint_every)
    candidates = params.steps // params.save_every if params.save_every else 0
    modules = (parts.unet, parts.text_encoder, parts.vae)
    model = sum(4 * parameter.numel() for module in modules for parameter in module.parameters())
    return DiskNeed(checkpoint * min(KEEP + 1, saves), learned * candidates, model)


def check_disk(job: "Job", parts: Parts, trainable: Trainable) -> None:
    """Refuse a training that would end with a full disk; what an earlier attempt left in the folder counts. One that
    has its last checkpoint writes only the model.

    Raises:
        CheckpointError: with what it needs and what there is.
    """
    need = disk_need(parts, trainable, job.params)
    there = sum(path.stat().st_size for path in job.checkpoints.rglob("*") if path.is_file())
    if is_written(job.checkpoints, job.params.steps):
        need, there = DiskNeed(0, 0, need.model), 0
    free = shutil.disk_usage(_existing(job.checkpoints)).free
    if need.total - there <= free:
        return
    parts_of_it = f"checkpoints {in_units(need.checkpoints)}, candidates {in_units(need.candidates)}, "
    parts_of_it += f"the model {in_units(need.model)}; {in_units(there)} are written"
    raise CheckpointError(
        f"the training needs {in_units(need.total)} on the disk ({parts_of_it}), and {in_units(free)} are free "
        f"in {job.checkpoints}: make room, or raise train.save_every and train.checkpoint_every"
    )


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())
