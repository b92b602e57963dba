"""What recipes do on the embedded base: `python -m benchmarks.recipes train|dial|avoid|search|table --work FOLDER`.

`train` trains good models of both sample toys, three seeds each, and memorised ones, in the workspaces of
`benchmarks.planted` (FOLDER/good-mysks-1): all, or the one of `--name`. Then, of the one that `--name` names, `dial`
draws it at several strengths, `avoid` with the perpendicular negative, and `search` runs the stages `tune`, `sample`
and `evaluate`. What is there already is kept; `table` prints a line for each recipe that was drawn, which is what
stands in docs/recipes.md. Two at once on one thread each take less time than one after the other.
"""

import argparse
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from benchmarks import plants
from benchmarks.pocket import as_batch
from pipeline.base.resolve import resolve_base
from pipeline.environment import prepare_environment
from pipeline.evaluation.aspect_classifier import Judge, judge_pictures
from pipeline.evaluation.drawn_picture import DrawnPicture
from pipeline.evaluation.statistics import Resamples, holm, paired_difference
from pipeline.evaluation.suite import Suite, load_suite, part_of
from pipeline.files import read_json, read_jsonl, write_json
from pipeline.layout import EVALUATION, MANIFEST, MODEL, RECIPE, SAMPLES, SAMPLES_INDEX
from pipeline.params import Params, load_params
from pipeline.photos.manifest import read_manifest
from pipeline.sampling.recipe import Recipe
from pipeline.tuning.trial import picture_scores
from pipeline.tuning.verdict import paired_gains
from pocket.scenes import SCENES
from pocket.styles import STYLES

SUITE, PROMPTS = "pocket-hard", 16  # the first ones, taking turns among the groups
SEEDS, TUNING_SEEDS = [11, 12, 13], [51, 52]
STRENGTHS = (0.8, 0.6, 0.4)
WEIGHTS = (1.0, 2.0)
BUDGET = 900
PRECISION = "bf16"  # twice as fast on processors that have it
SEARCHED = Path("searched-with.json")  # of a workspace: the settings of the search that found its recipe


def workspaces() -> dict[str, plants.Case]:
    """The models that recipes are measured on, by the names of their workspaces: good ones, and memorised ones."""
    asked = [("good", toy) for toy in plants.TOYS] + [("memorised", next(iter(plants.TOYS)))]
    cases = [plants.Case(plants.PLANTS[plant], toy, seed) for plant, toy in asked for seed in plants.REPORT]
    return {case.name: case for case in cases}


def subject_prompts() -> Suite:
    """Prompts of the subject alone: nothing else is asked of these pictures."""
    params = load_params(Path("params.yaml"))
    suite = load_suite(SUITE, params.subject)
    subject = replace(suite, prompts=tuple(prompt for prompt in suite.prompts if prompt.kind == "subject"))
    return part_of(subject, PROMPTS)


def judged(recipes: dict[str, Recipe]) -> dict[str, dict[str, Any]]:
    """The evaluation of the workspace's model with each recipe; the base draws the same noise once."""
    from pipeline.evaluation.judge import judge
    from pipeline.lineage.digests import content_digest
    from pipeline.sampling.layers import Words
    from pipeline.sampling.recipe_source import RecipeModel, recipe_source
    from pipeline.sampling.source import Source
    from pipeline.stages import judging, pictures

    params, here, suite = load_params(Path("params.yaml")), Path(), subject_prompts()
    base = resolve_base(params.base)
    plain = Source("base", base.folder, base.digest, base.variant)
    words = Words(params.subject.token, params.subject.class_noun)
    model = RecipeModel(Source("tuned", MODEL, content_digest(MODEL)), plain, words, PRECISION)
    draw = params.sample.draw.model_copy(update={"precision": PRECISION})
    backbones = judging.load_backbones(judging.find_backbones(params.evaluate, params.base), params.evaluate)
    photos = judging.references(here, read_manifest(MANIFEST))
    by_base = pictures.draw_suite(here, suite, SEEDS, draw, base.size, [plain])
    found = {}
    for name, recipe in recipes.items():
        drawn = pictures.draw_suite(here, suite, SEEDS, draw, base.size, [recipe_source("recipe", model, recipe)])
        drawn = [replace(item, model="tuned") for item in drawn]
        words_of = judging.vocabulary(params.subject, suite)
        found[name] = judge([*drawn, *by_base], photos, backbones, words_of, params.evaluate)
        found[name]["independent"] = independent(drawn)
        print(name, {key: round(value, 3) for key, value in figures(found[name]).items()}, flush=True)
    return found


def independent(drawn: list[DrawnPicture]) -> float:
    """Of the scenes and styles that prompts name, the share that pocket's own judge sees; no search ever asks it."""
    judge = Judge.load(Path(__file__).parents[1] / "pocket" / "judge" / "judge.safetensors")
    verdicts = judge_pictures(judge, as_batch([Image.open(item.path).convert("RGB") for item in drawn]))
    hits = []
    for item, seen in zip(drawn, verdicts, strict=True):
        scene, style = named(item.text, SCENES), named(item.text, STYLES)
        hits += [seen.scene == scene] if scene else []
        hits += [seen.style == style] if style else []
    return float(np.mean(hits))


def named(text: str, known: dict[str, Any]) -> str | None:
    """The scene or style whose longest phrase stands in a prompt."""
    found = [(len(words), name) for name, one in known.items() for words in one.phrases if words in text]
    return max(found)[1] if found else None


def figures(evaluation: dict[str, Any]) -> dict[str, float]:
    """Means of the subject's pictures."""
    pairs, success = picture_scores(evaluation)
    rows = [row for row in evaluation["pictures"] if (row["model"], row["kind"]) == ("tuned", "subject")]
    found = {"likeness": pairs[..., 0].mean(), "fidelity": pairs[..., 1].mean(), "merit": pairs.prod(axis=2).mean()}
    found |= {"animal": np.mean([row["animal"] for row in rows]), "independent": evaluation["independent"]}
    return {name: float(value) for name, value in found.items()} | (
        {"success": float(success.mean())} if success is not None else {}
    )


def animal_gap(before: dict[str, Any], after: dict[str, Any]) -> tuple[float, float, float]:
    """How the share of pictures read as the real animal changes, with its 95 % interval."""
    tables = []
    for evaluation in (before, after):
        rows = [row for row in evaluation["pictures"] if (row["model"], row["kind"]) == ("tuned", "subject")]
        by = {(row["prompt_id"], row["seed"]): row["animal"] for row in rows}
        tables.append(np.array([[by[prompt, seed] for seed in SEEDS] for prompt in sorted({key[0] for key in by})]))
    estimate = paired_difference(*tables, Resamples(len(tables[0]), len(SEEDS), 10000, 1))
    return estimate.value, estimate.low, estimate.high


def measure(kind: str, recipes: dict[str, Recipe]) -> None:
    """Write `<kind>.json`: each recipe's figures, and its paired differences from the first."""
    found = judged(recipes)
    first = next(iter(found.values()))
    write_json(
        Path(f"{kind}.json"),
        {
            name: {
                **figures(one),
                "gains": [asdict(gain) for gain in paired_gains(first, one, 10000, 1)],
                "animal_gap": animal_gap(first, one),
            }
            for name, one in found.items()
        },
    )


def search() -> None:
    """Search a recipe, draw and judge the report's pictures with it, and ask the independent judge."""
    from pipeline.stages import evaluate, sample, tune

    values = yaml.safe_load(Path("params.yaml").read_text())
    settings = yaml.safe_load((Path(__file__).parents[1] / "params.yaml").read_text())["tune"]
    values["tune"] = {**settings, "pictures": BUDGET, "seeds": TUNING_SEEDS}
    values["sample"] |= {"suite": SUITE, "seeds": SEEDS}
    values["sample"]["draw"]["precision"] = PRECISION
    Path("params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    params: Params = load_params(Path("params.yaml"))
    settings = search_settings(params)
    if not (RECIPE.is_file() and SEARCHED.is_file() and read_json(SEARCHED) == settings):
        SEARCHED.unlink(missing_ok=True)
        tune.run(Path(), params)
        write_json(SEARCHED, settings)
    sample.run(Path(), params)
    evaluate.run(Path(), params)
    rows = [row for row in read_jsonl(SAMPLES_INDEX) if row["kind"] == "subject"]
    by = {
        model: independent([_picture(row) for row in rows if row["model"] == model])
        for model in sorted({row["model"] for row in rows})
    }
    evaluation = read_json(EVALUATION)
    write_json(Path("search.json"), {"recipe": evaluation.get("recipe"), "independent": by})


def search_settings(params: Params) -> dict[str, Any]:
    """What decides which recipe a search finds: a recipe of other settings is not kept."""
    from pipeline.lineage.digests import content_digest

    suite = load_suite(params.tune.suite, params.subject)
    decide = {name: getattr(params, name).model_dump(mode="json") for name in ("tune", "evaluate", "gates")}
    draw = params.sample.draw.model_dump(mode="json")
    base = resolve_base(params.base).digest
    return {**decide, "draw": draw, "suite": suite.digest, "model": content_digest(MODEL), "base": base}


def _picture(row: dict[str, Any]) -> DrawnPicture:
    names = ("model", "kind", "prompt_id", "group", "twin", "seed", "text")
    return DrawnPicture(path=SAMPLES / row["path"], **{name: row[name] for name in names})


def merit_of(found: dict[str, Any]) -> dict[str, Any]:
    """The gain in likeness x fidelity of one recipe."""
    return next(dict(gain) for gain in found["gains"] if gain["metric"] == "merit")


def adjusted_p(measured: dict[str, dict[str, Any]]) -> dict[str, float]:
    """The p-values of merit by recipe, the default apart, adjusted by Holm for how many were tried side by side."""
    return holm({name: merit_of(found)["p"] for name, found in measured.items() if name != "default"})


def table(work: Path) -> str:
    """Markdown: what each recipe does, one line each; a p-value among several is followed by the adjusted one."""
    lines = [
        "| model | recipe | likeness | fidelity | success | independent judge | read as the animal | "
        "likeness x fidelity against the default |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for file in sorted(work.glob("*/dial.json")) + sorted(work.glob("*/avoid.json")):
        measured = read_json(file)
        adjusted = adjusted_p(measured)
        for name, found in measured.items():
            merit = merit_of(found)
            gain = f"{merit['value']:+.3f} ({merit['low']:+.3f} to {merit['high']:+.3f}), {_p(merit['p'])}"
            if len(adjusted) > 1 and name in adjusted:
                gain += f" ({_p(adjusted[name])} by Holm)"
            cells = [f"{found[key]:.2f}" for key in ("likeness", "fidelity", "success", "independent", "animal")]
            default = name == "default"
            lines.append(f"| {file.parent.name} | {name} | {' | '.join(cells)} | {'' if default else gain} |")
    for file in sorted(work.glob("*/search.json")):
        found = read_json(file)
        recipe = found["recipe"]
        if recipe is None:
            lines.append(f"| {file.parent.name} | the search kept the default | | | | | | |")
            continue
        keys = ", ".join(f"{key} {value}" for key, value in recipe["recipe"].items())
        gains = {gain["metric"]: gain for gain in recipe["gains"]}
        cells = [
            f"{gains[name]['default']:.2f} to {gains[name]['searched']:.2f}"
            for name in ("likeness", "fidelity", "success")
        ]
        seen = f"{found['independent']['tuned']:.2f} to {found['independent']['recipe']:.2f}"
        merit = gains["merit"]
        gain = f"{merit['value']:+.3f} ({merit['low']:+.3f} to {merit['high']:+.3f}), {_p(merit['p'])}"
        newly = f"; newly failed: {', '.join(recipe['newly_failed'])}" if recipe["newly_failed"] else ""
        lines.append(f"| {file.parent.name} | searched: {keys} | {' | '.join(cells)} | {seen} | | {gain}{newly} |")
    return "\n".join(lines)


def _p(value: float) -> str:
    return f"p {value:.3f}" if value >= 0.0005 else "p < 0.001"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "dial", "avoid", "search", "table"))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--name", choices=tuple(workspaces()))
    asked = parser.parse_args()
    work, wanted = asked.work.resolve(), workspaces()
    prepare_environment()
    if asked.what == "table":
        print(table(work))
        return
    if asked.what == "train":
        for case in [wanted[asked.name]] if asked.name else wanted.values():
            plants.trained(case, work)
        return
    if asked.name is None:
        parser.error(f"{asked.what} needs --name: {', '.join(wanted)}")
    case = wanted[asked.name]
    plants.refuse_other(case, work / case.name / MODEL)
    os.chdir(work / case.name)
    if asked.what == "dial":
        strengths = {f"strength {value:g}": Recipe(strength=value) for value in STRENGTHS}
        measure("dial", {"default": Recipe(), **strengths})
    elif asked.what == "avoid":
        animal = load_params(Path("params.yaml")).subject.animal
        avoid = f"a photo of a {animal}"
        weights = {f"avoid, weight {value:g}": Recipe(avoid=avoid, avoid_weight=value) for value in WEIGHTS}
        measure("avoid", {"default": Recipe(), **weights})
    else:
        search()


if __name__ == "__main__":
    main()
