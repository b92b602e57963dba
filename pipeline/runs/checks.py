"""What can be known to be wrong before a run starts: parameters against base, suites, judges and photos."""

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from pipeline.base.configurations import size_problems, tokenizer_problems
from pipeline.base.judges import resolve_copies, resolve_identity, resolve_perceptual, resolve_scorer
from pipeline.base.report_judge import resolve_report_judge
from pipeline.base.resolve import EMBEDDED, check_kind, is_path, native_size, resolve_base, size_multiple
from pipeline.base.sample_control import check_adapter_fits, find_adapter, find_outliner
from pipeline.errors import UserError, counted, joined
from pipeline.evaluation.caption_conflicts import suites_for_photos
from pipeline.evaluation.deciding import Use, deciding_suites
from pipeline.evaluation.known_interval import FEWEST
from pipeline.evaluation.reasons import NO_CONTROL, ONE_FOLLOWED
from pipeline.evaluation.suite import COMPLEX, NO_SUBJECT, STYLE, Prompt, load_suite, said_again
from pipeline.files import read_json
from pipeline.layout import DATA, DVC_YAML, PARAMS
from pipeline.params import Params, has_word
from pipeline.photos.examine import examine_photos
from pipeline.photos.file_kinds import NameIndex, scan_folder
from pipeline.photos.split import LEAST_TRAINED
from pipeline.registry.store import check_answers
from pipeline.runs.costs import base_folder, in_cache
from pipeline.runs.disk import disk_problems
from pipeline.runs.dvc_problems import dvc_problems
from pipeline.runs.hub import unreachable
from pipeline.runs.token_name import numbered
from pipeline.sampling.idle_keys import drawn_as_base
from pipeline.sampling.prompt_weights import WeightError, parts_of
from pipeline.sampling.recipe import Recipe, RecipeError, run_recipe
from pipeline.tuning.plan import fewest_pictures
from pipeline.tuning.space import nothing_to_try, single_changes


def check_run(workspace: Path, params: Params, photos: bool = True, texts: tuple[str, str] | None = None) -> list[str]:
    """Every mistake that can be seen without a download and without running anything.

    Each is a sentence that begins with a key of params.yaml, or with a file.

    Bases and judges on the hub are left to the stages, which look at them when they fetch them; here it is enough that
    they are on this machine or that the hub answers. What is in the cache of a base is looked at.

    Args:
        photos: whether the run trains on the photos that are in `data/` now; others are not looked at.
        texts: dvc.yaml and params.yaml of the run, where those in the workspace are others.
    """
    return [
        *_unwritten(workspace, texts),
        *_words(params),
        *_suites(workspace, params, photos),
        *_base(params),
        *_device(params),
        *_judges(params),
        *_control(params),
        *unreachable(params),
        *(_photos(workspace, params) if photos else ()),
        *(_masks(workspace, params) if photos else ()),
        *dvc_problems(workspace),
        *_registry(workspace),
        *disk_problems(workspace, params),
    ]


def gate_warnings(params: Params) -> list[str]:
    """Gates that are on although nothing can be measured for them: a model can never be promoted with them."""
    none_held_out = None if params.prepare.heldout else "no photos are held out (prepare.heldout is 0)"
    copies = None if params.evaluate.copies else "evaluate.copies names no copy detector"
    prompts, styles = _judging(params)
    unasked = _unasked(params.sample.suite, prompts, styles) if prompts else {}
    one_seed = "sample.seeds has one seed" if len(params.sample.seeds) == 1 else None
    control = _no_control(params, prompts)
    missing = {
        **unasked,
        "animal": None if params.subject.animal else "subject.animal is null",
        "train_gap": none_held_out,
        "copies": copies,
        "caption_copies": copies or unasked.get("caption_copies"),
        "diversity": one_seed
        if params.evaluate.perceptual
        else "evaluate.perceptual names nothing that tells pictures apart",
        "wording": unasked.get("wording") or one_seed,
        "control": control,
        "control_cost": control or none_held_out,
    }
    return [
        f"gates.{name} is on, but {reason}: it can never pass, and no model can be promoted; set it to null"
        for name, reason in missing.items()
        if reason and getattr(params.gates, name) is not None
    ]


def _judging(params: Params) -> tuple[Sequence[Prompt], Collection[str]]:
    """The prompts of the suite that judges, with the caption of a photo where it draws such, and its styles; none where
    it cannot be read.
    """
    caption = f"{params.subject.token}, as it stands in a training photo"
    try:
        suite = load_suite(params.sample.suite, params.subject, [caption])
    except UserError:
        return (), ()
    return suite.prompts, suite.styles


def _unasked(name: str, prompts: Sequence[Prompt], styles: Collection[str]) -> dict[str, str]:
    """Why a suite lets gates measure nothing, by gate; see `pipeline.evaluation.judge` for what each figure needs."""
    subject = [prompt for prompt in prompts if prompt.kind == "subject"]
    groups = Counter(prompt.group for prompt in subject)
    probes = Counter(prompt.group for prompt in prompts if prompt.kind == "probe")
    forms = {prompt.form for prompt in subject if prompt.form}
    too_few = None if len(styles) > 1 else "names fewer than two styles"
    lacks = {
        "likeness": "has one prompt of the subject, and an interval needs two" if len(subject) < FEWEST else None,
        "caption_copies": None if any(prompt.kind == "caption" for prompt in prompts) else "draws no training captions",
        "class_likeness": _too_few_of("class", probes, FEWEST),
        "class_as_subject": _too_few_of("class", probes, 1),
        "subject_free": _too_few_of(NO_SUBJECT, probes, 1),
        "style": too_few or (None if groups[STYLE] else f"has no prompts of the group '{STYLE}'"),
        "style_leak": too_few or (None if any(one.style == "photo" for one in subject) else "asks for no photo"),
        "name_forms": None if len(forms) > 1 else "names the subject in one form alone",
        "wording": None
        if said_again((prompt.group, prompt.form, prompt.id) for prompt in subject)
        else "says nothing in several wordings of one name form",
        "complex": None if groups[COMPLEX] else f"has no prompts of the group '{COMPLEX}'",
    }
    return {gate: f"the suite {name} {lack}" for gate, lack in lacks.items() if lack}


def _too_few_of(group: str, probes: Counter[str], least: int) -> str | None:
    if probes[group] >= least:
        return None
    return (
        f"has no probes of the group '{group}'" if not probes[group] else f"has one probe of the group '{group}' alone"
    )


def _no_control(params: Params, prompts: Sequence[Prompt]) -> str | None:
    if params.sample.control is None:
        return NO_CONTROL
    return ONE_FOLLOWED if sum(prompt.kind == "subject" for prompt in prompts) == 1 else None


def _unwritten(workspace: Path, texts: tuple[str, str] | None) -> Iterator[str]:
    """Parameters of stages that params.yaml leaves out: they have a default, but DVC wants to see them written."""
    try:
        both = texts or tuple((workspace / file).read_text(encoding="utf-8") for file in (DVC_YAML, PARAMS))
        pipeline, written = (yaml.safe_load(text) for text in both)
        stages = list(pipeline["stages"].values())
    except (OSError, ValueError, yaml.YAMLError, TypeError, KeyError, AttributeError):
        return  # DVC says what is wrong with a dvc.yaml that is empty or cannot be read
    listed = [stage.get("params") or [] for stage in stages if isinstance(stage, dict)]
    read = [key for keys in listed for key in keys if isinstance(key, str)]
    if lacking := [key for key in dict.fromkeys(read) if not _is_written(written, key)]:
        yield (
            f"{PARAMS} leaves out {joined(lacking)}, which stages read: copy the lines from a profile "
            "(`dreamtrace profile show pocket`)"
        )


def _is_written(values: Any, key: str) -> bool:
    for part in key.split("."):
        if not isinstance(values, dict) or part not in values:
            return False
        values = values[part]
    return True


def _registry(workspace: Path) -> Iterator[str]:
    """Why the registry in this folder cannot be opened at the end of a run; servers are asked when the run begins."""
    if os.environ.get("MLFLOW_TRACKING_URI"):
        return
    try:
        check_answers(workspace)
    except UserError as error:
        yield str(error)


def _words(params: Params) -> Iterator[str]:
    token = params.subject.token
    if problem := numbered(token):
        yield f"subject.token '{token}' {problem}"
    if params.preview.every and not any(has_word(prompt, token) for prompt in params.preview.prompts):
        yield f"preview.prompts: none names the token '{token}', so the previews would show nothing of the subject"
    if params.train.token.learn and params.train.token.vectors > 1:
        words = params.train.token.start_from.split()
        if len(words) > params.train.token.vectors:
            yield (
                f"train.token.start_from has {counted(len(words), 'word')} for {params.train.token.vectors} "
                "vectors; use as many "
                "words as vectors, or fewer"
            )


def _suites(workspace: Path, params: Params, photos: bool) -> Iterator[str]:
    """What is wrong with the suites and with the recipe of params.yaml, and what they ask for that it cannot draw."""
    recipe: Recipe | None = None
    try:
        recipe = run_recipe(params.recipe, params.sample.draw, drawn_as_base(params.train.method))
    except RecipeError as problem:
        yield str(problem)
    weighted = recipe is not None and recipe.weights
    uses, problems = suites_for_photos(workspace / DATA, params, weighted) if photos else deciding_suites(params)
    yield from problems
    yield from (problem for use in uses if use.section == "tune" for problem in _budget(params, use))
    if recipe is not None and weighted:
        yield from _unreadable(recipe, uses)


def _unreadable(recipe: Recipe, uses: Sequence[Use]) -> Iterator[str]:
    """Prompts of the suite that judges which a recipe with weights cannot read."""
    for prompt in (prompt for use in uses if use.section == "sample" for prompt in use.suite.prompts):
        try:
            parts_of(recipe.template.replace("{prompt}", prompt.text))
        except WeightError as problem:
            what = "the caption of a training photo" if prompt.kind == "caption" else prompt.id
            yield f"recipe.weights: sample.suite asks for {what}, which no recipe with weights can draw: {problem}"


def _budget(params: Params, use: Use) -> Iterator[str]:
    as_base = drawn_as_base(params.train.method)
    if not single_changes(params.tune.parts, params.sample.draw, params.subject.animal, as_base=as_base):
        yield nothing_to_try(params.tune.parts)
    fewest = fewest_pictures(len(use.suite.prompts), len(use.seeds))
    if params.tune.pictures < fewest:
        yield (
            f"tune.pictures: {params.tune.pictures} are too few for the suite {use.suite.name} with {len(use.seeds)} "
            f"seeds: the smallest search draws {fewest}; 0 switches it off"
        )


def _base(params: Params) -> Iterator[str]:
    """Bases on the hub are looked at as far as they are in the cache."""
    folder = base_folder(params)
    try:
        if params.base.model in EMBEDDED or is_path(params.base.model):
            folder = resolve_base(params.base).folder
        elif folder is not None:
            check_kind(folder, params.base.model)
    except UserError as error:
        yield str(error)
        return
    if folder is None or not _can_be_read(folder):
        return
    multiple, side = size_multiple(folder), params.prepare.size or native_size(folder)
    if side % multiple:
        yield f"prepare.size: {side} pixels; this base needs a multiple of {multiple}"
    if params.train.method == "dreambooth-lora":
        yield from _targets(folder, params.train.lora.targets)
    if params.train.token.learn:
        yield from _token(folder, params)


def _can_be_read(folder: Path) -> bool:
    """Whether a base's small files tell sizes and words; where those of a base on the hub do not, the stages say so."""
    return not [*size_problems(folder), *tokenizer_problems(folder)]


def _targets(folder: Path, targets: list[str]) -> list[str]:
    import torch
    from diffusers import UNet2DConditionModel

    from pipeline.training.trainable import target_problems

    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(read_json(folder / "unet" / "config.json"))
    return target_problems(unet, targets)


def _token(folder: Path, params: Params) -> Iterator[str]:
    from transformers import CLIPTextConfig, CLIPTokenizer

    from pipeline.training.token import token_problem

    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    rows = CLIPTextConfig.from_pretrained(folder / "text_encoder").vocab_size
    problem = token_problem(tokenizer, rows, params.subject.token, params.train.token.start_from)
    if problem is not None:
        yield problem


def _device(params: Params) -> Iterator[str]:
    """Why this machine cannot train in the precision, or in as many processes, as is asked for."""
    if params.train.precision == "fp32" and params.train.processes == 1:
        return
    from pipeline.training.distributed import check_device

    try:
        check_device(params.train)
    except UserError as error:
        yield str(error)


def _judges(params: Params) -> Iterator[str]:
    evaluate, base = params.evaluate, params.base
    named: list[tuple[str | None, Callable[[], object]]] = [
        (evaluate.scorer, lambda: resolve_scorer(evaluate, base)),
        (evaluate.identity, lambda: resolve_identity(evaluate, base)),
        (evaluate.copies, lambda: resolve_copies(evaluate, base)),
        (evaluate.perceptual, lambda: resolve_perceptual(evaluate, base)),
        (params.report.judge, lambda: resolve_report_judge(params.report, base)),
    ]
    deciding = {evaluate.scorer, evaluate.identity, evaluate.copies, evaluate.perceptual} - {"base"}
    if params.report.judge in deciding - {None}:
        yield f"report.judge: '{params.report.judge}' decides already (evaluate); name another judge, or null"
    told = set()
    for name, resolve in named:
        # the keywords scorer and identity name what is looked at under its own key
        if name in (None, "scorer", "identity") or ("/" in str(name) and not is_path(str(name))):
            continue
        try:
            resolve()
        except UserError as error:
            if str(error) not in told:
                yield str(error)
            told.add(str(error))


def _control(params: Params) -> Iterator[str]:
    """Why `sample.control` cannot be had; what is on the hub is looked at where it is here already."""
    wanted, base = params.sample.control, base_folder(params)
    if wanted is None:
        return
    try:
        find_outliner(wanted, params.base)
        away = wanted.adapter != "base" and not is_path(wanted.adapter)
        if away and not in_cache(wanted.adapter, wanted.revision, "config.json"):
            return
        adapter = find_adapter(wanted, params.base)
        if adapter is not None and base is not None:
            check_adapter_fits(adapter, base)
    except UserError as error:
        yield str(error)


def _photos(workspace: Path, params: Params) -> Iterator[str]:
    if not (workspace / DATA).is_dir():
        return
    photos, held = scan_folder(workspace / DATA)[0].photos, params.prepare.heldout
    index, count = NameIndex(photos), len(photos)
    always = len({found[0] for name in params.prepare.always_heldout if len(found := index.find(name)) == 1})
    if not held or not count or count >= max(held, always) + LEAST_TRAINED:
        return
    key, number, most = "heldout", held, max(0, count - LEAST_TRAINED)
    remedy = f"hold out {most}"
    if always > most:
        key, number, remedy = "always_heldout", always, f"name {most} at most, or set prepare.heldout to 0"
    yield (
        f"prepare.{key}: holding out {number} of {counted(count, 'photo')} leaves {max(count - number, 0)} to "
        "train on, and "
        f"{LEAST_TRAINED} are wanted; {remedy}, or add photos"
    )


def _masks(workspace: Path, params: Params) -> Iterator[str]:
    """Photos of which nothing would count: their masks are black after the crop, and the background weighs nothing."""
    folder = base_folder(params)
    nothing = params.train.background_weight > 0 or not (workspace / DATA).is_dir()
    if nothing or folder is None or not _can_be_read(folder):
        return
    from pipeline.training.data import black_masks

    size = params.prepare.size or native_size(folder)
    found = examine_photos(workspace / DATA, params.prepare, params.subject, size, size_multiple(folder))
    if found.problems:
        return  # the stage `prepare` tells them, and who is held out is not known
    trained = {name: mask for name, mask in sorted(found.masks.items()) if name not in found.heldout}
    if black := [name for name, mask in trained.items() if mask.picture.convert("L").getextrema() == (0, 0)]:
        yield black_masks(black)
