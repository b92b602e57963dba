"""Stage `evaluate`: the drawn pictures judged, the gates, and the report."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.base.named_paths import digest_path, model_path, path_parameters
from pipeline.base.report_judge import resolve_report_judge
from pipeline.base.sample_control import find_adapter
from pipeline.evaluation.deciding import suite_of
from pipeline.evaluation.judged_pictures import read_judged
from pipeline.evaluation.likeness import likeness_metric
from pipeline.evaluation.suite import suite_path
from pipeline.files import digest_value, read_json, read_table, write_json, write_table
from pipeline.layout import (
    EVALUATION,
    MANIFEST,
    METRICS,
    MODEL,
    PREPARED,
    RECIPE,
    REPORT,
    REPORT_PAGE,
    SAMPLES,
    SAMPLES_INDEX,
    SCORES,
    SEARCH,
    SELECTION,
    SELECTION_SHEET,
    STEPS,
)
from pipeline.params import Params
from pipeline.photos.manifest import photo_digests, read_manifest, training_captions
from pipeline.sampling.recipe import Recipe, drawer_digest, recipe_of
from pipeline.stages import main
from pipeline.stages.judging import find_backbones, load_backbones, references, vocabulary


def run(workspace: Path, params: Params) -> None:
    """Write `reports/evaluation.json`, `reports/metrics.json`, `reports/scores.csv` and `reports/report/`.

    Raises:
        BaseNotFound: a model that judges is not available.
        SamplesError: the pictures are not those of the suite, the model or samples.jsonl.
        SuiteError: a suite cannot be used, or two that decide share prompts, captions of training photos or seeds.
    """
    folders, second = find_backbones(params.evaluate, params.base), resolve_report_judge(params.report, params.base)
    photos, adapter = read_manifest(workspace / MANIFEST), find_adapter(params.sample.control, params.base)
    suite = suite_of("sample", params, training_captions(photos))

    from pipeline.evaluation.advice import advise
    from pipeline.evaluation.following import DEFINITIONS, add_following
    from pipeline.evaluation.gates import judge_gates
    from pipeline.evaluation.judge import judge
    from pipeline.evaluation.prepared_photos import prepared_digest
    from pipeline.evaluation.promotion_floor import final_verdict
    from pipeline.evaluation.report import write_report
    from pipeline.evaluation.report_inputs import ReportInputs
    from pipeline.evaluation.run_facts import run_facts
    from pipeline.evaluation.second_opinion import open_second_judge, second_opinion
    from pipeline.lineage.digests import content_digest
    from pipeline.lineage.read import read_lineage
    from pipeline.stages.judged_following import judged_following
    from pipeline.tuning.verdict import compare_recipe

    lineage, content = read_lineage(workspace / MODEL), content_digest(workspace / MODEL)
    recipe = recipe_of(read_json(workspace / RECIPE), str(RECIPE))
    drawn, digests = read_judged(
        workspace / SAMPLES,
        workspace / SAMPLES_INDEX,
        suite,
        params.sample.seeds,
        {"tuned": content, "base": lineage["base"]["digest"], **_searched(recipe, content, lineage)},
        params.sample.draw.settings,
    )
    by_recipe = [item for item in drawn if item.model == "recipe"]
    digests = [digest for item, digest in zip(drawn, digests, strict=True) if item.model != "recipe"]
    drawn = [item for item in drawn if item.model != "recipe"]
    backbones = load_backbones(folders, params.evaluate)
    settings = params.evaluate
    evaluation: dict[str, Any] = {
        "model": {"content_digest": content},
        "suite": {"name": suite.name, "digest": suite.digest, "seeds": params.sample.seeds, **suite.content},
        "draw": params.sample.draw.settings,
        "size": _size(drawn[0].path),
        "heldout": digest_value(photo_digests(photos, "heldout")),
        "photos": {
            split: {
                "count": len(found),
                "digest": digest_value(found),
                "prepared": prepared_digest(
                    workspace / PREPARED / photo.file for photo in photos if photo.split == split
                ),
            }
            for split in ("train", "heldout")
            for found in [photo_digests(photos, split)]
        },
        "settings": settings.model_dump(),
        "files": _named_files(params),
        "gates_digest": digest_value(params.gates.model_dump()),
        "scorer": {"model": settings.scorer, "revision": settings.revision, "digest": backbones.clip.digest},
        "identity_encoder": {
            "model": settings.identity,
            "revision": settings.identity_revision,
            "digest": backbones.identity.digest,
        },
        "copy_detector": _seer(settings.copies, settings.copies_revision, backbones.copies),
        "perceptual": _seer(settings.perceptual, settings.perceptual_revision, backbones.distance),
        **judge(drawn, references(workspace, photos), backbones, vocabulary(params.subject, suite), settings),
    }
    for row, digest in zip(evaluation["pictures"], digests, strict=True):
        row["sha256"] = digest
    size = _size(drawn[0].path)[0]
    following = judged_following(workspace, params, adapter, suite, backbones.identity, content, size)
    add_following(evaluation, following)
    evaluation["control"] = following["control"]
    evaluation["gates"] = judge_gates(evaluation, params.gates)
    if recipe.changed:
        again = [replace(item, model="tuned") for item in by_recipe] + [item for item in drawn if item.model == "base"]
        found = judge(again, references(workspace, photos), backbones, vocabulary(params.subject, suite), settings)
        # Nothing follows shapes with this recipe: its gates say nothing of control.
        gates = params.gates.model_copy(update=dict.fromkeys(DEFINITIONS))
        other = {**evaluation, **found, "gates": judge_gates(found, gates)}
        evaluation["recipe"] = compare_recipe(recipe, evaluation, other, read_json(workspace / SEARCH))
    else:
        search = read_json(workspace / SEARCH)
        if search["pictures"]["drawn"]:
            evaluation["search_without_result"] = {key: search[key] for key in ("suite", "pictures")}
    if second is not None:
        judges = (backbones.clip, backbones.identity, backbones.copies, backbones.distance)
        deciding = [one.digest for one in judges if one is not None]
        named = {"model": params.report.judge, "revision": params.report.revision}
        opinion = second_opinion(open_second_judge(second), [*drawn, *by_recipe], deciding, settings)
        evaluation["second_opinion"] = {**named, **opinion}
    selection = read_json(workspace / SELECTION)
    facts = run_facts(lineage, selection, read_table(workspace / STEPS))
    advice = advise(evaluation, facts)
    evaluation["verdict"] = {**final_verdict(evaluation), "advice": advice}
    inputs = ReportInputs(
        params=params,
        photos=photos,
        prepared=workspace / PREPARED,
        suite=suite,
        drawn=drawn,
        evaluation=evaluation,
        lineage=lineage,
        selection=selection,
        candidates=sheet if (sheet := workspace / SELECTION_SHEET).is_file() else None,
        by_recipe=by_recipe,
        followed=following["drawings"],
    )
    write_report(workspace / REPORT, inputs)
    write_json(workspace / METRICS, summary(evaluation))
    write_table(workspace / SCORES, scatter(evaluation))
    write_json(workspace / EVALUATION, evaluation)
    print(evaluation["verdict"]["sentence"])
    for line in advice:
        print(f"{line['gate']}: {line['cause']}. To change it: {line['change']}")
    print(f"report: {REPORT_PAGE}")


def summary(evaluation: dict[str, Any]) -> dict[str, dict[str, float]]:
    """The figures for `dvc metrics`: {metric: {tuned, base, difference, ratio}} over all prompts, and gates passed."""
    found: dict[str, dict[str, float]] = {}
    for row in evaluation["metrics"]:
        if row["group"] == "all" or row["metric"] not in found or row["model"] not in found[row["metric"]]:
            found.setdefault(row["metric"], {})[row["model"]] = row["value"]
    verdicts = [gate["verdict"] for gate in evaluation["gates"]]
    found["gates"] = {name: verdicts.count(name) for name in ("passed", "failed", "missing")}
    return found


def scatter(evaluation: dict[str, Any]) -> list[dict[str, float]]:
    """Likeness and fidelity of the tuned model's pictures of the subject, for `dvc plots`."""
    name = likeness_metric(evaluation)
    return [
        {"likeness": row[name], "fidelity": row["prompt_fidelity"]}
        for row in evaluation["pictures"]
        if (row["model"], row["kind"]) == ("tuned", "subject")
    ]


def _searched(recipe: Recipe, content: str, lineage: dict[str, Any]) -> dict[str, str]:
    """What should have drawn with the searched recipe; nothing where that is the default one."""
    if not recipe.changed:
        return {}
    return {"recipe": drawer_digest(content, lineage["base"]["digest"], recipe)}


def _named_files(params: Params) -> dict[str, str]:
    """The digests of the suites and judges that parameters name and that lie on this machine, by their keys."""
    found: dict[str, Path | None] = {
        key: model_path(value) for key, value in path_parameters(params).items() if key.startswith("evaluate.")
    }
    found |= {"sample.suite": suite_path(params.sample.suite), "select.suite": suite_path(params.select.suite)}
    if params.tune.pictures:
        found["tune.suite"] = suite_path(params.tune.suite)
    return {key: digest_path(path) for key, path in found.items() if path is not None}


def _size(picture: Path) -> list[int]:
    from PIL import Image

    with Image.open(picture) as opened:
        return list(opened.size)


def _seer(model: str | None, revision: str | None, loaded: Any) -> dict[str, Any] | None:
    return {"model": model, "revision": revision, "digest": loaded.digest} if loaded else None


if __name__ == "__main__":
    main(run)
