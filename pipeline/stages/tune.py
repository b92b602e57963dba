"""Stage `tune`: a search for the recipe that the selected model is drawn with, on a suite of its own."""

import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pipeline.base.resolve import native_size, resolve_base
from pipeline.errors import UserError, counted
from pipeline.evaluation.deciding import suite_of
from pipeline.evaluation.suite import Suite
from pipeline.files import whole_folder, write_json, write_table
from pipeline.layout import MANIFEST, MODEL, RECIPE, SEARCH, TRIALS, TUNED, WORDINGS
from pipeline.params import Params
from pipeline.photos.manifest import read_manifest, training_captions
from pipeline.sampling.idle_keys import drawn_as_base
from pipeline.sampling.recipe import Recipe, run_recipe
from pipeline.stages import main
from pipeline.stages.judging import find_backbones, load_backbones, references, vocabulary
from pipeline.stages.pictures import draw_suite
from pipeline.tuning.plan import Plan, fewest_pictures, make_plan
from pipeline.tuning.space import Proposal, nothing_to_try, single_changes, worded

COLUMNS = ("trial", "round", "merit", "likeness", "fidelity", "parts", "gates_failed")


class NothingToTry(UserError):
    """None of the parts that a search may change changes a picture."""


class TooFewPictures(UserError):
    """The budget does not suffice for the smallest search."""


def run(workspace: Path, params: Params) -> None:
    """Write `artifacts/tuned/`: the chosen recipe, the record of the search, and its trials as a table.

    Without a budget (`tune.pictures` 0) the recipe is that of params.yaml, and nothing is drawn. Pictures are kept one
    by one as they are drawn: a killed search goes on where it was.

    Raises:
        SuiteError: a suite cannot be used, or two that decide share prompts, captions of training photos or seeds.
        NothingToTry: none of `tune.parts` changes a picture of this subject.
        TooFewPictures: the budget does not suffice for one recipe beside the default.
        RecipeError: the recipe of params.yaml cannot be used.
        WriterError: the language model cannot be asked, or proposes nothing that can be used.
    """
    if params.tune.pictures == 0:
        given = run_recipe(params.recipe, params.sample.draw, drawn_as_base(params.train.method))
        _write(workspace, given, {"pictures": {"planned": 0, "drawn": 0}}, [])
        what = f"the one of params.yaml: {_title(given)}" if given.changed else "the default one"
        print(f"no search for a recipe (tune.pictures is 0): {what}")
        return
    suite = suite_of("tune", params, training_captions(read_manifest(workspace / MANIFEST)))
    wordings = _written(workspace, params)
    written = [worded(template, str(wordings["by"])) for template in wordings.get("templates", ())]
    as_base = drawn_as_base(params.train.method)
    singles = single_changes(params.tune.parts, params.sample.draw, params.subject.animal, written, as_base)
    if not singles:
        raise NothingToTry(nothing_to_try(params.tune.parts))
    seeds = len(params.tune.seeds)
    planned = make_plan(len(suite.prompts), seeds, params.tune.pictures, len(singles))
    if planned is None:
        raise TooFewPictures(
            f"tune.pictures: {params.tune.pictures} is too few for the suite {suite.name} with "
            f"{counted(seeds, 'seed')}; the smallest search draws {fewest_pictures(len(suite.prompts), seeds)}"
        )
    recipe, record, rows = _search(workspace, params, suite, planned, singles)
    _write(workspace, recipe, {**record, "writer": wordings} if wordings else record, rows)
    (workspace / WORDINGS).unlink(missing_ok=True)
    print(f"{record['chosen']['words']} is the recipe ({counted(record['pictures']['drawn'], 'picture')})")


def _written(workspace: Path, params: Params) -> dict[str, Any]:
    """What the language model of params.yaml proposes, as the record of the search holds it; nothing without one."""
    writer = params.tune.writer
    if writer is None:
        return {}
    from pipeline.tuning.writer import wordings_of

    found = wordings_of(writer, params.subject.class_noun, workspace / WORDINGS)
    print(f"{writer.model} proposes {counted(len(found.templates), 'wording')}, {len(found.refused)} more were refused")
    return {"by": writer.model, "address": writer.address, **asdict(found)}


def _search(
    workspace: Path, params: Params, suite: Suite, planned: Plan, singles: list[Proposal]
) -> tuple[Recipe, dict[str, Any], list[dict[str, float]]]:
    base = resolve_base(params.base)
    folders = find_backbones(params.evaluate, params.base)

    from pipeline.evaluation.gates import judge_gates
    from pipeline.evaluation.judge import judge
    from pipeline.lineage.digests import content_digest
    from pipeline.sampling.layers import Words
    from pipeline.sampling.recipe_source import RecipeModel, recipe_source
    from pipeline.sampling.source import Source
    from pipeline.tuning.halving import search
    from pipeline.tuning.record import Progress, search_record, trial_table
    from pipeline.tuning.trial import summarise

    backbones = load_backbones(folders, params.evaluate)
    photos = references(workspace, read_manifest(workspace / MANIFEST))
    size = params.prepare.size or native_size(base.folder)
    content = content_digest(workspace / MODEL)
    plain = Source("base", base.folder, base.digest, base.variant)
    words = Words(params.subject.token, params.subject.class_noun)
    draw, seeds = params.sample.draw, params.tune.seeds
    model = RecipeModel(Source("tuned", workspace / MODEL, content), plain, words, draw.precision)
    settings = params.evaluate  # the same draws as in the report: whether likeness is measured depends on them
    progress = Progress(planned.pictures)
    counted: dict[Path, int] = {}

    def count(source: Source, title: str, part: Suite) -> list[Any]:
        folder = source.drawn(workspace)
        before = len(list(folder.glob("*.png")))
        drawn = draw_suite(workspace, part, seeds, draw, size, [source])
        total = len(part.prompts) * len(seeds)
        fresh = len(list(folder.glob("*.png"))) - before
        progress.add(title, total - counted.get(folder, 0), fresh)
        counted[folder] = total
        return drawn

    def attempt(recipe: Recipe, part: Suite) -> Any:
        by_base = (
            count(plain, "the base", part)
            if not recipe.changed
            else draw_suite(workspace, part, seeds, draw, size, [plain])
        )
        source = recipe_source("recipe", model, recipe)
        drawn = [_as_tuned(item) for item in count(source, _title(recipe), part)]
        evaluation = judge([*drawn, *by_base], photos, backbones, vocabulary(params.subject, suite), settings)
        return summarise(recipe, evaluation, judge_gates(evaluation, params.gates, by_value=True))

    evaluate = params.evaluate
    outcome = search(suite, planned, singles, attempt, evaluate.bootstrap, evaluate.seed)
    record = {
        "content_digest": content,
        "suite": {"name": suite.name, "digest": suite.digest, "seeds": seeds},
        "judges": {"clip": backbones.clip.digest, "identity": backbones.identity.digest},
        **search_record(outcome, planned, sum(counted.values()), evaluate.bootstrap, evaluate.seed),
    }
    for folder in counted.keys() - {plain.drawn(workspace)}:  # the base's drawings are for the other stages, too
        shutil.rmtree(folder, ignore_errors=True)
    return outcome.chosen.recipe, record, trial_table(outcome.rounds)


def _as_tuned(item: Any) -> Any:
    return replace(item, model="tuned")


def _title(recipe: Recipe) -> str:
    return ", ".join(f"{key} {value}" for key, value in recipe.changed.items()) or "the default recipe"


def _write(workspace: Path, recipe: Recipe, record: dict[str, Any], rows: list[dict[str, float]]) -> None:
    with whole_folder(workspace / TUNED) as fresh:
        write_json(fresh / RECIPE.name, recipe.changed)
        write_json(fresh / SEARCH.name, record)
        write_table(fresh / TRIALS.name, rows or [dict.fromkeys(COLUMNS, 0.0)])


if __name__ == "__main__":
    main(run)
