"""Whether a run can begin: photos, parameters, base, judges, memory, disk and time, all looked at beforehand."""

import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.base.components import weight_files
from pipeline.base.resolve import COMPONENTS, EMBEDDED, BaseNotFound, is_path
from pipeline.errors import UserError
from pipeline.files import read_json
from pipeline.layout import DATA, LINEAGE, PARAMS, TRAINED_MODEL, TRAINING
from pipeline.params import Params, dump_params, load_params
from pipeline.photos.target import Target, target_of
from pipeline.runs.checks import check_run, gate_warnings
from pipeline.runs.dvc import fetch_data
from pipeline.runs.photo_survey import Survey, survey_photos

COPIES = 6  # of the weights: trained, selected, registered, and DVC's and the served model's copies of them
USUAL_SIZE = 512  # pixels; where the base, whose size it is, cannot be looked at
ONE_TO_TELL = ("train.method", "train.batch", "train.gradient_accumulation", "train.precision", "base.model")


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


def check_readiness(workspace: Path, tell: Callable[[str], None], thumbnails: bool = False) -> Readiness:
    """Look at everything that can be seen before a run, and list all that is found; nothing is changed.

    Photos that are missing are fetched by DVC, and of a base on the hub the small files.

    Args:
        tell: takes a word on what is being looked at.
        thumbnails: the photos' facts come with thumbnails.
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
    _look_at_base(params, found)
    target = _target(params, found)
    tell("looking at the photos")
    _look_at_photos(workspace, params, target, thumbnails, found)
    tell("estimating memory")
    _look_at_memory(params, target, found)
    _look_at_disk(workspace, params, found)
    found.facts["time"] = _time(workspace, params)
    found.problems = list(dict.fromkeys(found.problems))
    return found


def _target(params: Params, found: Readiness) -> Target:
    try:
        target = target_of(params)
    except BaseNotFound as error:
        found.problems.append(str(error))
        return Target(params.prepare.size or USUAL_SIZE, 8, None)
    if target.unknown:
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
    split_told = any(problem.startswith("prepare.heldout:") for problem in found.problems)
    found.problems += [f"{DATA}: {line}" for line in survey.problems if not (split_told and "held out" in line)]
    found.warnings += survey.warnings
    found.notes += survey.notes
    held = len(survey.photos) - survey.trained
    split = f"{survey.trained} to train on, {held} held out, " if not survey.problems else ""
    found.facts["photos"] = f"{len(survey.photos)}: {split}{survey.scenes} scenes"


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
        here = _in_cache(model, params.base.revision)
        found.facts["base"] = f"{model} from the hub, {'downloaded already' if here else 'to be downloaded'}"
        if params.base.revision is None:
            found.warnings.append("base.revision is null: the base may change between runs; give a commit of the hub")
    evaluate = params.evaluate
    judges = {"pictures and prompts": evaluate.scorer, "identity": evaluate.identity, "copies": evaluate.copies}
    judges["diversity"] = evaluate.perceptual
    found.facts["judges"] = ", ".join(f"{what} by {judge or 'nothing'}" for what, judge in judges.items())


def _in_cache(model: str, revision: str | None) -> bool:
    from huggingface_hub import try_to_load_from_cache

    try:
        file = try_to_load_from_cache(model, "unet/config.json", revision=revision)
        return isinstance(file, str) and bool(weight_files(Path(file).parent))
    except (OSError, ValueError):
        return False


def _look_at_memory(params: Params, target: Target, found: Readiness) -> None:
    from pipeline.training.estimate import estimate_memory

    folder = _base_folder(params)
    if folder is None:
        found.facts["memory"] = "unknown until the base is here"
        return
    classes = params.prior.images > 0
    try:
        peak = estimate_memory(
            folder, params.train, target.size, classes, params.subject.token, params.prepare.heldout, params.preview
        ).peak
    except UserError as error:
        found.problems.append(str(error))
        return
    found.facts["memory"] = f"about {peak / 1e9:.1f} GB for the training"
    have, where = _memory()
    if have is not None:
        found.facts["memory"] += f", of {have / 1e9:.1f} GB {where}"
        if peak > have:
            found.problems.append(
                f"the training needs about {peak / 1e9:.1f} GB of memory, and there are {have / 1e9:.1f} GB {where}: "
                "lower train.batch (and raise train.gradient_accumulation), or switch train.gradient_checkpointing on"
            )


def _memory() -> tuple[int | None, str]:
    """Bytes of the GPU that would train, or else of this machine; and where they are."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_properties(0).total_memory, f"on {torch.cuda.get_device_name(0)}"
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), "on this machine, which has no usable GPU"
    except (ValueError, OSError):
        return None, ""


def _look_at_disk(workspace: Path, params: Params, found: Readiness) -> None:
    free = shutil.disk_usage(workspace).free
    folder = _base_folder(params)
    if folder is None:
        found.facts["disk"] = f"{free / 1e9:.0f} GB free; what the run needs is unknown until the base is here"
        return
    sizes = {part: sum(f.stat().st_size for f in weight_files(folder / part)) for part in COMPONENTS}
    candidates = params.train.steps // params.train.save_every if params.train.save_every else 0
    learned = sizes["unet"] if params.train.method == "dreambooth" else 0
    needed = COPIES * sum(sizes.values()) + candidates * learned
    found.facts["disk"] = f"about {needed / 1e9:.1f} GB for the run, {free / 1e9:.0f} GB free"
    if needed > free:
        found.problems.append(
            f"the run needs about {needed / 1e9:.1f} GB on disk, and {free / 1e9:.1f} GB are free: remove old runs "
            "(`dreamtrace runs clean`, `dvc gc -w`), or raise train.save_every so that fewer candidates are kept"
        )


def _base_folder(params: Params) -> Path | None:
    """The base's folder, where it is on this machine whole."""
    model = params.base.model
    if model in EMBEDDED:
        return EMBEDDED[model]
    if is_path(model):
        folder = Path(model).expanduser()
        return folder if (folder / "unet" / "config.json").is_file() else None
    from huggingface_hub import try_to_load_from_cache

    if not _in_cache(model, params.base.revision):
        return None
    file = try_to_load_from_cache(model, "unet/config.json", revision=params.base.revision)
    return Path(str(file)).parents[1]


def _time(workspace: Path, params: Params) -> str:
    """From the last training of this workspace, where it was one of the same kind."""
    try:
        done = read_json(workspace / TRAINING)
        before = read_json(workspace / TRAINED_MODEL / LINEAGE)["params"]
        steps = done["steps"] - done["resumed_from"]
        known = {name: _value(before, name) for name in ONE_TO_TELL}
        device = done["device"]
    except (OSError, ValueError, KeyError, TypeError):
        return "unknown: nothing was trained in this workspace yet"
    if known != {name: _value(dump_params(params), name) for name in ONE_TO_TELL} or steps < 1:
        return "unknown: the last training in this workspace was of another kind"
    seconds = done["seconds"] / steps * params.train.steps
    return (
        f"about {seconds / 60:.0f} min for the training, as fast as the last one here ({device}); judging comes on top"
    )


def _value(values: dict[str, Any], name: str) -> Any:
    section, _, key = name.partition(".")
    return values[section][key]
