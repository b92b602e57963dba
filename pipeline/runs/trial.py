"""A few steps of the training that params.yaml asks for: how long all of it will take on this machine."""

from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import monotonic

from pipeline.base.resolve import resolve_base
from pipeline.errors import NotNow
from pipeline.files import scratch_folder
from pipeline.params import Params
from pipeline.runs.costs import in_words
from pipeline.runs.hub import models_to_fetch
from pipeline.runs.photo_survey import Survey
from pipeline.training.data import Sample
from pipeline.training.distributed import trains_on_gpu
from pipeline.training.job import Job
from pipeline.training.training_loop import train

STEPS = 8
WARM = 3  # the first of them, which are slower


class _Enough(Exception):
    """The steps that were wanted are done."""


def trial_sentence(params: Params, survey: Survey) -> str:
    """How long the training takes, by its start and its first steps, which leave nothing behind.

    Loading, encoding and steps are counted; losses on held-out photos, previews, checkpoints and the model that is
    written are not.

    Args:
        survey: the photos as they would be prepared; some of them stand in for class images.

    Raises:
        UserError: the training refuses its parameters, photos or this machine, as a run would.
    """
    if params.train.processes > 1:
        return "unknown: steps are tried in one process, and train.processes is more"
    if "base.model" in models_to_fetch(params):
        return "unknown until the base is here"
    try:
        before, step, device = _try_steps(params, survey)
    except (NotNow, OSError) as error:  # somebody stopped it, or the temporary folder takes no photos
        return f"unknown: no step could be tried: {error}"
    count = _steps_tried(params)
    seconds = before + step * params.train.steps
    return f"{in_words(seconds)} for the training, by {count} steps of it just now ({device}); judging comes on top"


def _steps_tried(params: Params) -> int:
    return min(STEPS, params.train.steps)


def _try_steps(params: Params, survey: Survey) -> tuple[float, float, str]:
    """Seconds before the first step, seconds of a step, and the device.

    Raises:
        UserError: the base is not here, or the training does not begin.
    """
    base = resolve_base(params.base)
    at: list[float] = []

    def count(row: object) -> None:
        at.append(monotonic())
        if len(at) == _steps_tried(params):  # before the last step writes a checkpoint and the model
            raise _Enough

    with scratch_folder() as name:
        folder = Path(name)
        samples: list[Sample] = []
        for photo in survey.photos:
            if photo.split == "train":
                picture, mask = survey.prepared[photo.name]
                file, drawn = folder / f"{len(samples)}.png", folder / f"{len(samples)}-mask.png"
                picture.save(file)
                if mask is not None:
                    mask.save(drawn)
                samples.append(Sample(file, photo.caption, drawn if mask is not None else None))
        noun = params.subject.class_noun
        stand_ins = [Sample(sample.file, f"a photo of a {noun}") for sample in samples] if params.class_images else []
        began = monotonic()
        job = Job(
            base=base.folder,
            variant=base.variant,
            photos=samples,
            class_images=stand_ins,
            token=params.subject.token,
            class_noun=noun,
            params=params.train.model_copy(update={"log_every": 1, "save_every": 0, "checkpoint_every": 10**9}),
            checkpoints=folder / "checkpoints",
            model=folder / "model",
            trial=True,
        )
        with suppress(_Enough):
            train(job, count)
    steps = [later - earlier for earlier, later in pairwise(at)]
    step = median(steps[WARM - 1 :] or steps or [at[0] - began])
    return at[0] - began - step, step, "cuda" if trains_on_gpu() else "cpu"
