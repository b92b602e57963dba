"""What the report's page shows, put together from the evaluation: tables, rows of pictures, charts."""

import random
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pipeline.evaluation import charts
from pipeline.evaluation.gates import RULES
from pipeline.evaluation.known_interval import figure_words, has_interval, interval_words
from pipeline.evaluation.likeness import likeness_metric
from pipeline.evaluation.report_inputs import ReportInputs, picture_file, sentence
from pipeline.evaluation.report_recipe import control_section, kept_default, recipe_section, second_section
from pipeline.evaluation.selection import RULE, gates_in_words
from pipeline.evaluation.suite import CAPTIONS, Prompt, noise_of
from pipeline.evaluation.twins import with_article
from pipeline.params import dump_params, flat_params

NAMES = {
    "identity_train": "likeness to the training photos",
    "identity_heldout": "likeness to the held-out photos",
    "identity_masked": "likeness to the held-out photos' subject alone",
    "prompt_fidelity": "fidelity to the prompt",
    "likeness": "share of the way from the base to real photos",
    "copy": "nearness to the nearest training photo",
    "copied": "share of copies",
    "train_gap": "training photos ahead of held-out ones",
    "diversity": "difference between seeds",
    "class_likeness": "likeness of the class alone",
    "class_as_subject": "class alone passing as the subject",
    "class_drift": "drift of the class (KID)",
    "subject_free": "fidelity without the subject",
    "style": "style right",
    "style_leak": "photo prompts in another style",
    "animal": "read as the real animal",
    "success": "success",
    "worst_success": "success on the worst tenth of the prompts",
    "name_forms": "token alone minus token with class noun",
    "wording": "spread of success over paraphrases",
    "complex": "success with three factors or more",
    "control": "shape drawn as asked for",
    "control_cost": "likeness lost by following a shape",
}
SHOWN = 8  # pictures in the strips of random, worst and most copied ones


def facts(inputs: ReportInputs) -> dict[str, Any]:
    """Everything that the template asks for."""
    params, evaluation = inputs.params, inputs.evaluation
    tuned = [row for row in evaluation["pictures"] if (row["model"], row["kind"]) == ("tuned", "subject")]
    return {
        "subject": params.subject,
        "heading": f"Does the model know {params.subject.token}?",
        "verdict": evaluation["verdict"],
        "advice": evaluation["verdict"]["advice"],
        "sentence": sentence(evaluation, params.subject.token),
        "gates": [_gate(gate) for gate in evaluation["gates"]],
        "photos": _photos(inputs),
        "article_class": with_article(params.subject.class_noun),
        "rows": _rows(inputs, "subject"),
        "captions": _rows(inputs, "caption"),
        "probes": _rows(inputs, "probe"),
        "columns": min(6, 2 * len(params.sample.seeds)),
        "random": [_shown(inputs, row) for row in random.Random(0).sample(tuned, min(SHOWN, len(tuned)))],
        "worst": [_shown(inputs, row) for row in sorted(tuned, key=_merit(evaluation))[:SHOWN]],
        "copied": _copied(inputs, tuned),
        "heat": _heat(inputs, tuned),
        "charts": _charts(inputs),
        "selection": _selection(inputs),
        "recipe": recipe_section(inputs),
        "kept_default": kept_default(evaluation),
        "second": second_section(evaluation),
        "control": control_section(inputs),
        "figures": _figures(evaluation),
        "definitions": {NAMES[name]: text for name, text in evaluation["definitions"].items()},
        "missing": {NAMES.get(name, name): text for name, text in evaluation["missing"].items()},
        "origin": _origin(inputs),
        "parameters": flat_params(dump_params(params)),
    }


def grid_rows(inputs: ReportInputs) -> list[tuple[str, list[tuple[Path, Path]]]]:
    """For `draw_grid`: prompts of all groups in turn with their (base, tuned) pictures of the first two seeds."""
    files = {(item.model, item.prompt_id, item.seed): item.path for item in inputs.drawn}
    seeds = sorted({item.seed for item in inputs.drawn})[:2]
    return [
        (prompt.text, [(files["base", prompt.id, seed], files["tuned", prompt.id, seed]) for seed in seeds])
        for prompt in _in_turn([prompt for prompt in inputs.suite.prompts if prompt.kind == "subject"])[:SHOWN]
    ]


def _in_turn(prompts: list[Prompt]) -> list[Prompt]:
    """The first prompt of every group, then the second ones, and so on."""
    groups: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        groups.setdefault(prompt.group, []).append(prompt)
    return [prompt for turn in zip_longest(*groups.values()) for prompt in turn if prompt]


def _gate(gate: dict[str, Any]) -> dict[str, Any]:
    rule = RULES[gate["gate"]]
    figure = "" if gate["value"] is None else f"{gate['value']:.4f}"  # as exact as what is judged
    counts = {"low": "lower bound", "high": "upper bound", "size": "size", "value": "value"}[gate["bound"]]
    between = "" if gate["value"] is None else interval_words(gate)
    limit = "off" if gate["threshold"] is None else f"{counts} {gate['direction']} {gate['threshold']:g}"
    name = NAMES[rule.metric] + (f", {CAPTIONS}" if rule.group == CAPTIONS else "")
    return {**gate, "name": name, "figure": figure, "interval": between, "limit": limit}


def _photos(inputs: ReportInputs) -> list[dict[str, Any]]:
    return [
        {
            "file": f"photos/{Path(photo.file).name}",
            "source": photo.source,
            "caption": photo.caption,
            "heldout": photo.split == "heldout",
        }
        for photo in inputs.photos
    ]


def _rows(inputs: ReportInputs, kind: str) -> list[dict[str, Any]]:
    seeds = inputs.params.sample.seeds
    return [
        {
            "prompt": prompt.text,
            "group": prompt.group,
            "pictures": [
                {"file": picture_file(model, prompt.id, seed), "model": model, "seed": noise_of(prompt.id, seed)}
                for seed in seeds
                for model in ("base", "tuned")
            ],
        }
        for prompt in inputs.suite.prompts
        if prompt.kind == kind
    ]


def _merit(evaluation: dict[str, Any]) -> Callable[[dict[str, Any]], float]:
    name = likeness_metric(evaluation)
    return lambda row: max(0.0, row[name]) * max(0.0, row["prompt_fidelity"])


def _shown(inputs: ReportInputs, row: dict[str, Any]) -> dict[str, Any]:
    texts = {prompt.id: prompt.text for prompt in inputs.suite.prompts}
    figures = f"likeness {row[likeness_metric(inputs.evaluation)]:.4f}, fidelity {row['prompt_fidelity']:.4f}"
    file = picture_file(row["model"], row["prompt_id"], row["seed"])
    return {"file": file, "text": texts[row["prompt_id"]], "figures": figures}


def _copied(inputs: ReportInputs, tuned: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The pictures nearest to a training photo, each beside it; all that reach the line among them."""
    if "copy" in inputs.evaluation["missing"]:
        return []
    level = inputs.evaluation["real_photos"]["copy_level"]
    captions = [row for row in inputs.evaluation["pictures"] if (row["model"], row["kind"]) == ("tuned", "caption")]
    ranked = sorted(tuned + captions, key=lambda row: -row["copy"])
    count = max(SHOWN, sum(row["copied"] or row["copy"] >= level for row in ranked))
    return [
        {**_shown(inputs, row), "photo": f"photos/{row['nearest']}", "figures": copy_note(row, level)}
        for row in ranked[:count]
    ]


def copy_note(row: dict[str, Any], level: float) -> str:
    """How near a picture is to its nearest training photo, and whether it counts in the share of copies."""
    figure = f"{row['copy']:.4f}"
    if row["copied"] and row["kind"] == "caption":
        return f"{figure}: a copy, counted among the training captions"
    if row["copied"]:
        return f"{figure}: a copy, counted"
    if row["copy"] >= level:
        return f"{figure}: on the line, which does not count; only more than {level:.4f} is a copy"
    return f"{figure}: no copy"


def _heat(inputs: ReportInputs, tuned: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Success by prompt and seed; None where there is no threshold."""
    if not tuned or "success" not in tuned[0]:
        return None
    by_place = {(row["prompt_id"], row["seed"]): bool(row["success"]) for row in tuned}
    seeds = inputs.params.sample.seeds
    rows = [
        {"prompt": prompt.text, "hits": [by_place[prompt.id, seed] for seed in seeds]}
        for prompt in inputs.suite.prompts
        if prompt.kind == "subject"
    ]
    return {"seeds": seeds, "rows": rows, "thresholds": inputs.evaluation["thresholds"]}


def _charts(inputs: ReportInputs) -> dict[str, Markup]:
    evaluation, name = inputs.evaluation, likeness_metric(inputs.evaluation)
    rows = [row for row in evaluation["pictures"] if row["kind"] == "subject"]
    points = {
        model: [(row["prompt_fidelity"], row[name]) for row in rows if row["model"] == model]
        for model in ("base", "tuned")
    }
    found = {
        "scatter": charts.scatter(
            points, NAMES["prompt_fidelity"], "likeness", "likeness against fidelity, one dot a picture"
        )
    }
    if "copy" not in evaluation["missing"]:
        series = {
            "base": evaluation["real_photos"]["copy"],
            "tuned": [row["copy"] for row in rows if row["model"] == "tuned"],
        }
        level = evaluation["real_photos"]["copy_level"]
        found["copies"] = charts.histograms(series, NAMES["copy"], "training photos and drawn pictures", level)
    if candidates := inputs.selection["candidates"]:
        found["selection"] = charts.curve(
            [(row["step"], row["merit"], row["error"]) for row in candidates],
            inputs.selection["step"],
            "step",
            "likeness x fidelity",
            "merit of every candidate, with one standard error",
        )
    return {key: Markup(text) for key, text in found.items()}


def _selection(inputs: ReportInputs) -> dict[str, Any]:
    rows = [
        {
            "step": row["step"],
            "merit": f"{row['merit']:.3f} ± {row['error']:.3f}",
            "likeness": f"{row['likeness']:.3f}",
            "fidelity": f"{row['fidelity']:.3f}",
            "failed": gates_in_words(row["failed"], row.get("missing", [])),  # older records name none
            "chosen": row["step"] == inputs.selection["step"],
        }
        for row in inputs.selection["candidates"]
    ]
    suite = inputs.selection["suite"]
    used = f"{suite['name']} ({suite['digest'][:16]}), seeds {', '.join(map(str, suite['seeds']))}"
    return {"rows": rows, "rule": RULE, "suite": used, "sheet": inputs.candidates is not None}


def _figures(evaluation: dict[str, Any]) -> list[dict[str, str]]:
    by_place: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in evaluation["metrics"]:
        by_place.setdefault((row["metric"], row["group"]), {})[row["model"]] = row
    found = []
    for (metric, group), models in by_place.items():
        gap, ratio = models.get("difference"), models.get("ratio")
        real = evaluation["real_photos"].get(metric) if group == "all" else None
        compared = gap or ratio
        text = figure_words(compared, sign="+" if gap else "") if compared else ""
        known = gap if gap and has_interval(gap) else None
        found.append(
            {
                "name": NAMES[metric],
                "group": f"{group} ({next(iter(models.values()))['prompts']})",
                "base": _number(models["base"]) if "base" in models else "",
                "tuned": _number(models["tuned"]) if compared else figure_words(models["tuned"]),
                "difference": text + (" x" if ratio and not gap else ""),
                "sign": "up" if known and known["low"] > 0 else "down" if known and known["high"] < 0 else "",
                "real": f"{real:.4f}" if isinstance(real, float) else "",
            }
        )
    return found


def _number(row: dict[str, Any]) -> str:
    return f"{row['value']:.4f}"


def _origin(inputs: ReportInputs) -> dict[str, Any]:
    lineage, evaluation = inputs.lineage, inputs.evaluation
    base, draw = lineage["base"], evaluation["draw"]
    seers = {
        "CLIP (prompts)": evaluation["scorer"],
        "encoder (likeness)": evaluation["identity_encoder"],
        "copy detector": evaluation["copy_detector"],
        "difference between seeds": evaluation["perceptual"],
    }
    return {
        "content digest of the model": lineage["weights"]["content_digest"],
        "step": f"{inputs.selection['step']} of {lineage['training']['steps']}",
        "training seed": lineage["training"]["seed"],
        "photos (DVC)": lineage["photos"]["dvc_md5"],
        "parameters": lineage["params_digest"],
        "base model": f"{base['model']} {base['revision'] or ''}".strip(),
        "digest of the base": base["digest"],
        "code": lineage["code"]["commit"] or "unknown",
        "training run": lineage["training"]["run_id"],
        "suite": f"{evaluation['suite']['name']} {evaluation['suite']['digest']}",
        "seeds": ", ".join(map(str, evaluation["suite"]["seeds"])),
        "drawn with": ", ".join(f"{name} {value}" for name, value in draw.items()),
        **{name: f"{seer['model']} {seer['digest']}" for name, seer in seers.items() if seer},
    }
