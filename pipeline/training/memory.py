"""Whether the GPU's free memory holds a training, before it starts."""

from dataclasses import dataclass, replace
from math import ceil, sqrt
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image

from pipeline.errors import UserError, in_units
from pipeline.params import Preview, Train
from pipeline.training.estimate import estimate_memory

if TYPE_CHECKING:
    from pipeline.training.job import Job

ERROR = 0.25  # of the estimate (17 % with the tests' tiny networks): what may just fit is tried
LESS = "set train.gradient_checkpointing, learn less (dreambooth-lora), or use smaller photos (prepare.size)"


class MemoryTooSmall(UserError):
    """The GPU cannot hold the training, not even with one photo at a time."""


@dataclass(frozen=True)
class MemoryVerdict:
    """`peak`: bytes that a training takes at once, `previews`: that it takes while it draws them; `problem`: why it
    cannot begin; `warning`: what it will do without, of whole micro-batches and of previews.
    """

    peak: int
    previews: int = 0
    problem: str | None = None
    warning: str | None = None


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
    classes, heldout = bool(job.class_images), len(job.heldout)
    found = judge_memory(job.base, job.params, side, classes, job.token, heldout, job.preview, free)
    if found.problem:
        raise MemoryTooSmall(found.problem)
    if found.warning:
        print(found.warning)


def judge_memory(
    base: Path,
    params: Train,
    side: int,
    class_images: bool,
    token: str,
    heldout: int,
    preview: Preview | None,
    free: int | None,
) -> MemoryVerdict:
    """Whether `free` bytes hold a training; None: only how much it takes. The other arguments are those of
    `estimate_memory`. Previews keep none from beginning: the trainer passes over those that it has no room for.

    Raises:
        TokenError: the placeholder token cannot be learned on this base.
    """

    whole = estimate_memory(base, params, side, class_images, token, heldout, preview)
    verdict = MemoryVerdict(whole.peak, whole.previews)
    if free is None or whole.peak <= free:
        return verdict
    told = f"and {in_units(free)} are free"
    warnings = []
    if whole.training > free:
        alone = params.model_copy(update={"batch": 1})
        least = estimate_memory(base, alone, side, class_images, token).peak
        if (1 - ERROR) * least > free:
            problem = f"the training needs about {in_units(least)} of GPU memory with one photo at a time, {told}"
            return replace(verdict, problem=f"{problem}: stop what else uses the GPU, {LESS}")
        smaller = "smaller micro-batches will be tried; a step still takes as many photos"
        warnings.append(
            f"batches of {params.batch} need about {in_units(whole.training)} of GPU memory, {told}: "
            f"{smaller if params.batch > 1 else 'memory may run out'}"
        )
    if whole.previews > free:
        warnings.append(
            f"previews need about {in_units(whole.previews)} of GPU memory, {told}: one for which memory runs out is "
            "passed over, and training goes on; lower preview.draw.batch, or set preview.every to 0"
        )
    return replace(verdict, warning="; ".join(warnings))


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free on a device; None where its module cannot tell, as on a CPU."""
    asked = getattr(torch.get_device_module(device), "mem_get_info", None)
    return int(asked(device)[0]) if asked is not None else None


def _pixels(file: Path) -> int:
    with Image.open(file) as opened:
        return opened.width * opened.height
