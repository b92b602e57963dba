"""Whether a run can begin: photos, parameters, base, judges, memory, disk and time, all looked at beforehand."""

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from math import ceil, sqrt
from pathlib import Path
from typing import Any

from pipeline.base.resolve import EMBEDDED, BaseNotFound, is_path
from pipeline.errors import UserError, counted, in_units
from pipeline.evaluation.followed import LEAST_SHAPES
from pipeline.evaluation.reasons import NO_SHAPES
from pipeline.layout import DATA, PARAMS
from pipeline.params import Params, load_params
from pipeline.photos.target import Target, target_of
from pipeline.runs.checks import check_run, gate_warnings
from pipeline.runs.costs import base_folder, in_cache, time_sentence
from pipeline.runs.disk import disk_problems, disk_sentence
from pipeline.runs.dvc import fetch_data
from pipeline.runs.hub import download_sentence
from pipeline.runs.photo_survey import Survey, survey_photos
from pipeline.runs.withdrawn_inputs import withdrawn_inputs

USUAL_SIZE = 512  # pixels; where the base, whose size it is, cannot be looked at


@dataclass
class Readiness:
    """What was found: problems stop a run, warnings do not. `facts` are sentences by what they are about."""

    subject: str = ""
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    survey: Survey | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain values, without pictures."""
        photos = [] if self.survey is None else [asdict(photo) for photo in self.survey.photos]
        for photo in photos:
            del photo["thumbnail"]
        return {
            "ready": not self.problems,
            "subject": self.subject,
            "problems": self.problems,
            "warnings": self.warnings,
            "notes": self.notes,
            "facts": self.facts,
            "photos": photos,
        }


def check_readiness(
    workspace: Path, tell: Callable[[str], None], thumbnails: bool = False, trial: bool = False
) -> Readiness:
    """Look at everything that can be seen before a run, and list all that is found; nothing is changed.

    Photos that are missing are fetched by DVC, and of a base on the hub the small files.

    Args:
        tell: takes a word on what is being looked at.
        thumbnails: the photos' facts come with thumbnails.
        trial: where nothing stops a run, a few steps of the training tell its time.
    """
    found = Readiness()
    try:
        params = load_params(workspace / PARAMS)
    except UserError as error:
        found.problems.append(str(error))
        return found
    subject = params.subject
    found.subject = f"{subject.token} {subject.class_noun}, model {params.register_.model}"
    tell("looking at the parameters")
    found.problems += check_run(workspace, params)
    found.warnings += gate_warnings(params)
    found.warnings += withdrawn_inputs(workspace, params)
    _look_at_base(params, found)
    target = _target(params, found)
    tell("looking at the photos")
    _look_at_photos(workspace, params, target, thumbnails, found)
    found.facts["training"] = _training(params, found)
    tell("estimating memory")
    _look_at_memory(params, target, found)
    found.facts["disk"] = disk_sentence(workspace, params)
    found.problems += disk_problems(workspace, params)
    found.facts["download"] = download_sentence(params)
    found.problems = list(dict.fromkeys(found.problems))
    found.facts["time"] = time_sentence(workspace, params)
    if trial and not found.problems and found.survey is not None:
        from pipeline.runs.trial import trial_sentence

        tell("trying a few steps")
        try:
            found.facts["time"] = trial_sentence(params, found.survey)
        except UserError as error:
            found.problems.append(str(error))
    return found


def _target(params: Params, found: Readiness) -> Target:
    try:
        target = target_of(params)
    except BaseNotFound as error:
        found.problems.append(str(error))
        return Target(params.prepare.size or USUAL_SIZE, 8, None)
    if target.unknown and not any(problem.startswith("base.model '") for problem in found.problems):
        found.problems.append(target.unknown)  # the sizes are known without the base, but no run goes far without it
    return target


def _look_at_photos(workspace: Path, params: Params, target: Target, thumbnails: bool, found: Readiness) -> None:
    try:
        fetch_data(workspace)
    except UserError as error:
        found.problems.append(str(error))
        return
    survey = survey_photos(workspace / DATA, params, target, thumbnails)
    found.survey = survey
    split_told = any(problem.startswith(("prepare.heldout:", "prepare.always_heldout:")) for problem in found.problems)
    found.problems += [f"{DATA}: {line}" for line in survey.problems if not (split_told and "held out" in line)]
    found.warnings += survey.warnings
    found.notes += survey.notes
    trained = [photo for photo in survey.photos if photo.split == "train"]
    unmasked, places = sum(photo.subject_share is None for photo in trained), params.train.augment.places
    if places and unmasked and not survey.problems:
        found.notes.append(
            f"train.augment.places: photos without a mask are not put in other places ({unmasked} of {len(trained)})"
        )
    if not survey.problems and (unseen := _unseen_masks(params, len(trained) - unmasked)):
        found.notes.append(unseen)
    if params.sample.control and len(trained) - unmasked < LEAST_SHAPES and not survey.problems:
        found.warnings.append(f"sample.control: {NO_SHAPES}: nothing is measured; draw masks, or set it to null")
    held = len(survey.photos) - survey.trained
    split = f"{survey.trained} to train on, {held} held out, " if not survey.problems else ""
    found.facts["photos"] = f"{len(survey.photos)}: {split}{survey.scenes} scenes"


def _unseen_masks(params: Params, masked: int) -> str | None:
    """A note where photos have masks and no parameter makes the training look at them."""
    train = params.train
    crops = train.augment.views > 1 and train.augment.crop > 0  # which keep what the masks show
    if not masked or train.background_weight < 1 or train.augment.places or crops:
        return None
    return (
        f"{counted(masked, 'photo')} {'have masks' if masked > 1 else 'has a mask'}, but train.background_weight is 1 "
        "and train.augment.places is 0: training does not look at masks"
    )


def _look_at_base(params: Params, found: Readiness) -> None:
    model = params.base.model
    if model in EMBEDDED:
        found.facts["base"] = f"{model}, which is here: a toy of 64 pixels, for trying things out"
        found.warnings.append(
            f"base.model is {model}, a toy of 64 pixels; for pictures to keep use the profile thesis and a GPU"
        )
    elif is_path(model):
        found.facts["base"] = f"{model}, a folder here"
    else:
        here = in_cache(model, params.base.revision)
        found.facts["base"] = f"{model} from the hub, {'downloaded already' if here else 'to be downloaded'}"
        if params.base.revision is None:
            found.warnings.append("base.revision is null: the base may change between runs; give a commit of the hub")
    evaluate = params.evaluate
    judges = {"pictures and prompts": evaluate.scorer, "identity": evaluate.identity, "copies": evaluate.copies}
    judges["diversity"] = evaluate.perceptual
    found.facts["judges"] = ", ".join(f"{what} by {judge or 'nothing'}" for what, judge in judges.items())


def _training(params: Params, found: Readiness) -> str:
    """What is trained, and how often each photo is seen."""
    train = params.train
    photos = train.photos_per_step
    often = ""
    if found.survey is not None and found.survey.trained:
        seen = round(train.steps * photos / found.survey.trained)
        often = f", each photo about {f'{seen} times' if seen > 1 else 'once'}"
    return f"{train.method}, {counted(train.steps, 'step')} of {counted(photos, 'photo')}{often}"


def _look_at_memory(params: Params, target: Target, found: Readiness) -> None:
    """What the training takes: a problem where the trainer would refuse it, else a warning where it does not fit."""
    from pipeline.training.memory import judge_memory

    folder = base_folder(params)
    if folder is None:
        found.facts["memory"] = "unknown until the base is here"
        return
    classes, token, (side, heldout) = params.class_images > 0, params.subject.token, _shapes(params, target, found)
    have, where, on_gpu = _memory()
    free = have if on_gpu else None
    try:
        verdict = judge_memory(folder, params.train, side, classes, token, heldout, params.preview, free)
    except UserError as error:
        found.problems.append(str(error))
        return
    peak = in_units(verdict.peak)
    found.facts["memory"] = f"about {peak} for the training" + (f", of {in_units(have)} {where}" if have else "")
    found.problems += [verdict.problem] if verdict.problem else []
    found.warnings += [verdict.warning] if verdict.warning else []
    if have is not None and not on_gpu and verdict.peak > have:
        less = "lower train.batch (and raise train.gradient_accumulation), or switch train.gradient_checkpointing on"
        if verdict.previews == verdict.peak:
            less = "lower preview.draw.batch, or set preview.every to 0"
        found.warnings.append(
            f"the training takes about {peak} of memory, and there are {in_units(have)} {where}: it will be slow, or "
            f"the system may end it; {less}"
        )


def _shapes(params: Params, target: Target, found: Readiness) -> tuple[int, int]:
    """The side of a square with the pixels of the largest photo that is trained on, and how many are held out."""
    survey = found.survey
    if survey is None or survey.problems or not survey.trained:
        return target.size, params.prepare.heldout
    pictures = [survey.prepared[photo.name][0] for photo in survey.photos if photo.split == "train"]
    largest = max(picture.width * picture.height for picture in pictures)
    return ceil(sqrt(largest)), len(survey.photos) - survey.trained


def _memory() -> tuple[int | None, str, bool]:
    """Bytes that are free on the GPU that would train, or else those of this machine; where they are; and whether that
    is a GPU.
    """
    import torch

    from pipeline.training.distributed import trains_on_gpu
    from pipeline.training.memory import free_memory

    if trains_on_gpu():
        return free_memory(torch.device("cuda")), f"that are free on {torch.cuda.get_device_name(0)}", True
    try:
        return (
            os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "on this machine, which trains on its CPU",
            False,
        )
    except (ValueError, OSError):
        return None, "", False
