"""A new subject in a workspace: its photos in `data/`, its captions, its parameters; what was there is kept."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from pipeline.errors import UserError, all_problems, counted
from pipeline.files import digest_file, write_jsonl
from pipeline.layout import DATA, PARAMS, STATE
from pipeline.params import Params, Subject, explain_problem, load_params, parse_params
from pipeline.photos.file_kinds import METADATA, scan_folder
from pipeline.photos.split import LEAST_TRAINED
from pipeline.photos.target import Target, target_of
from pipeline.runs.dvc import run_dvc
from pipeline.runs.photo_sources import all_files, copy_photos, fetch_source
from pipeline.runs.photo_survey import Survey, survey_photos
from pipeline.runs.profiles import find_profile, free_name, preset_thresholds, profiles, put_params
from pipeline.runs.subject_colours import colour_words
from pipeline.runs.subject_values import measurable, put_subject, read_commented, switch_gates, write_commented
from pipeline.runs.token_name import numbered
from pipeline.training.token_report import report_token

HELD_OUT = ((12, 3), (8, 2), (6, 1))  # from how many photos how many are held out; below six, none
DEFAULT = "pocket"
NEXT_TO = {"beige": "brown"}  # for a base that does not know the word
STAGED = STATE / "new"  # the photos of a subject that is being planned


class NewSubjectError(UserError):
    """The photos or the words of a new subject cannot be used; every problem is listed."""


@dataclass(frozen=True)
class Wanted:
    """What a person says of a subject; what is None is found out."""

    token: str
    class_noun: str
    name: str | None = None
    animal: str | None = None
    start_from: str | None = None
    profile: str | None = None


@dataclass(frozen=True)
class Plan:
    """What would be written: nothing has been yet. `replaced` are the paths that would make place for it."""

    photos: Path  # the copy that becomes `data/`
    survey: Survey
    text: str  # of params.yaml
    params: Params
    replaced: list[Path]


@dataclass(frozen=True)
class Begun:
    """A plan that was carried out; `kept` are the paths where the photos and parameters before are now."""

    plan: Plan
    kept: list[Path]
    tracked: bool  # by DVC


def held_out_of(count: int) -> int:
    """How many of `count` photos are held out: none below six, one from six, two from eight, three from twelve."""
    return next((held for least, held in HELD_OUT if count >= least), 0)


def plan_subject(source: str, workspace: Path, wanted: Wanted) -> Plan:
    """Look at a copy of the photos and put the parameters together; nothing of the workspace changes yet.

    Raises:
        NewSubjectError: photos or words that cannot be used; all problems are listed.
        SourceError, ArchiveError, StorageError: the photos cannot be had.
        UnknownProfile, ParamsError: the profile, or the present params.yaml, cannot be used.
    """
    text = _present(workspace, wanted.profile)
    subject = _subject(wanted)
    folder, doubles = _staged(source, workspace)
    values = read_commented(text)
    before, thresholds = measurable(values), preset_thresholds(values["base"]["model"])
    put_subject(values, subject, thresholds)
    gates = dict(values["gates"])
    values["prepare"]["heldout"] = 0
    values["prepare"].pop("always_heldout", None)
    target = target_of(parse_params(yaml.safe_load(write_commented(values)), f"{PARAMS} for {subject.name}"))
    problems = _token_problems(wanted.token, target)
    count = len(scan_folder(folder)[0].photos)
    if count < LEAST_TRAINED:
        problems.append(
            f"{counted(count, 'photo')} {'is' if count == 1 else 'are'} not enough: a training needs {LEAST_TRAINED}"
        )
    values["train"]["token"]["start_from"] = wanted.start_from or subject.class_noun
    params, survey = _with_held_out(folder, values, target, held_out_of(count))
    values["gates"]["train_gap"] = gates["train_gap"]
    switch_gates(values, before, thresholds)
    params = parse_params(yaml.safe_load(write_commented(values)), str(PARAMS))
    problems += survey.problems
    survey.notes[:0] = doubles
    if problems:
        raise NewSubjectError(all_problems(str(source), problems))
    if wanted.start_from is None:
        values["train"]["token"]["start_from"] = _start_words(params, survey, target)
        params = parse_params(yaml.safe_load(write_commented(values)), str(PARAMS))
    made = write_commented(values)
    return Plan(folder, survey, made, params, _replaced(workspace, folder, made))


def begin_subject(plan: Plan, workspace: Path) -> Begun:
    """Carry a plan out: photos to `data/`, parameters to params.yaml, both tracked; what was there is kept beside it.

    Raises:
        DvcError: DVC refuses to track the photos, which are in place.
    """
    data, kept = workspace / DATA, []
    if not _same_photos(plan.photos, data):
        _write_caption_form(plan.photos, plan.survey)
        if data.exists():
            place = free_name(data)
            data.rename(place)
            kept.append(place)
        plan.photos.rename(data)
    shutil.rmtree(workspace / STAGED, ignore_errors=True)
    before = put_params(workspace / PARAMS, plan.text)
    kept += [before] if before else []
    tracked = (workspace / ".dvc").is_dir()
    if tracked:
        run_dvc(workspace, "add", "--quiet", str(DATA))
    return Begun(plan, kept, tracked)


def _present(workspace: Path, profile: str | None) -> str:
    if profile is None and (workspace / PARAMS).is_file():
        load_params(workspace / PARAMS)
        return (workspace / PARAMS).read_text(encoding="utf-8-sig")
    return find_profile(profile or DEFAULT).path.read_text(encoding="utf-8")


def _staged(source: str, workspace: Path) -> tuple[Path, list[str]]:
    """A copy of the photos without files that are there twice, and a note for each of those."""
    folder = workspace / STAGED
    copy_photos(fetch_source(source, workspace), folder)
    first: dict[str, str] = {}
    notes = []
    for name in scan_folder(folder)[0].photos:
        other = first.setdefault(digest_file(folder / name), name)
        if other != name:
            (folder / name).unlink()
            notes.append(f"{name}: is the same file as {other} and is left out")
    return folder, notes


def _subject(wanted: Wanted) -> Subject:
    try:
        return Subject(
            name=wanted.name or wanted.token, token=wanted.token, class_noun=wanted.class_noun, animal=wanted.animal
        )
    except ValidationError as error:
        options = {"class_noun": "--class", "name": "--name", "token": "--token", "animal": "--animal"}
        lines = [f"  {options[str(problem['loc'][0])]} {explain_problem(problem)}" for problem in error.errors()]
        raise NewSubjectError("the subject cannot be called so:\n" + "\n".join(dict.fromkeys(lines))) from None


def _token_problems(token: str, target: Target) -> list[str]:
    if problem := numbered(token):
        return [f"--token: '{token}' {problem}"]
    if target.encoder is None:
        return []
    report = report_token(target.encoder.tokenizer, token)
    return [f"--token: {report.sentence}"] if report.problem else []


def _with_held_out(folder: Path, values: Any, target: Target, most: int) -> tuple[Params, Survey]:
    """The parameters and the photos with the most photos held out that scenes add up to, at most `most`."""
    for held in range(most, -1, -1):
        values["prepare"]["heldout"] = held
        params = parse_params(yaml.safe_load(write_commented(values)), str(PARAMS))
        survey = survey_photos(folder, params, target)
        if not any(problem.startswith("cannot hold out") for problem in survey.problems):
            break
    return params, survey


def _start_words(params: Params, survey: Survey, target: Target) -> str:
    """A colour or two and the class noun: as many words as the token has vectors; the base knows each colour."""
    noun, vectors = params.subject.class_noun, params.train.token.vectors
    count = target.encoder.count if target.encoder else (lambda text: len(text.split()))
    room = vectors - len(noun.split())
    if vectors == 1 or room < 1:
        return " ".join(noun.split()[-vectors:])
    named = colour_words(survey.prepared.values(), 3)
    known = [word if count(word) == 1 else NEXT_TO.get(word, word) for word in named]
    colours = [word for word in dict.fromkeys(known) if count(word) == 1]
    return " ".join([*colours[:room], noun])


def _replaced(workspace: Path, photos: Path, text: str) -> list[Path]:
    data, params = workspace / DATA, workspace / PARAMS
    found = [data] if data.exists() and any(data.iterdir()) and not _same_photos(photos, data) else []
    presets = {profile.path.read_text(encoding="utf-8") for profile in profiles()}
    if params.is_file() and params.read_text(encoding="utf-8") not in presets | {text}:
        found.append(params)
    return found


def _same_photos(folder: Path, data: Path) -> bool:
    """Whether `data` holds the files of `folder` already; the form for captions may have been filled in."""
    if not data.is_dir():
        return False
    theirs, ours = set(all_files(folder)), set(all_files(data))
    if ours - theirs - {METADATA} or theirs - ours:
        return False
    return all(digest_file(folder / name) == digest_file(data / name) for name in theirs)


def _write_caption_form(folder: Path, survey: Survey) -> None:
    """A metadata.jsonl to write captions into, where there are none: an empty text is a caption by rule."""
    kinds, _ = scan_folder(folder)
    if kinds.metadata or kinds.captions:
        return
    write_jsonl(folder / METADATA, ({"file_name": photo.name, "text": ""} for photo in survey.photos))
