"""Whether the GPU's free memory holds a training, before it starts."""

from math import ceil, sqrt
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image

from pipeline.errors import UserError, in_units
from pipeline.training.estimate import estimate_memory

if TYPE_CHECKING:
    from pipeline.training.job import Job

ERROR = 0.25  # of the estimate (17 % with the tests' tiny networks): what may just fit is tried
LESS = "set train.gradient_checkpointing, learn less (dreambooth-lora), or use smaller photos (prepare.size)"


class MemoryTooSmall(UserError):
    """The GPU cannot hold the training, not even with one photo at a time."""


def check_memory(job: "Job", device: torch.device) -> None:
    """Refuse a training that the device's free memory cannot hold even with one photo at a time, to which the trainer
    falls back; the held-out ones are looked at in parts that fit. Memory of a CPU is not looked at: it can be borrowed
    from the disk.

    Raises:
        MemoryTooSmall: with what it needs and what is free.
        TokenError: the placeholder token cannot be learned on this base.
    """
    free = free_memory(device)
    if free is None:
        return
    side = ceil(sqrt(max(_pixels(photo.file) for photo in job.photos)))
    peaks = [
        estimate_memory(
            job.base,
            job.params.model_copy(update={"batch": batch}),
            side,
            bool(job.class_images),
            job.token,
            heldout,
            job.preview,
        ).peak
        for batch, heldout in ((1, 0), (job.params.batch, len(job.heldout)))
    ]
    if (1 - ERROR) * peaks[0] > free:
        raise MemoryTooSmall(
            f"the training needs about {in_units(peaks[0])} of GPU memory with one photo at a time, and "
            f"{in_units(free)} are free: stop what else uses the GPU, {LESS}"
        )
    if peaks[-1] > free:
        smaller = "smaller micro-batches will be tried; a step still takes as many photos"
        print(
            f"batches of {job.params.batch} need about {in_units(peaks[-1])} of GPU memory, and {in_units(free)} "
            f"are free: {smaller if job.params.batch > 1 else 'memory may run out'}"
        )


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free on a device; None where its module cannot tell, as on a CPU."""
    asked = getattr(torch.get_device_module(device), "mem_get_info", None)
    return int(asked(device)[0]) if asked is not None else None


def _pixels(file: Path) -> int:
    with Image.open(file) as opened:
        return opened.width * opened.height
