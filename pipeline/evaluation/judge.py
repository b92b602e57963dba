"""The figures of one model against its base, from the scores of their pictures."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from operator import itemgetter
from typing import Any

import numpy as np

from pipeline.evaluation.drawn_picture import DrawnPicture
from pipeline.evaluation.hard_prompts import hard_prompts
from pipeline.evaluation.metrics import Line, Table, class_drift
from pipeline.evaluation.reasons import COPIES_OF_ONE_SCENE, NO_WAY, ONE_SCENE
from pipeline.evaluation.scores import Backbones, Reference, Scores, Vocabulary, score
from pipeline.evaluation.statistics import (
    LEVEL,
    WORST,
    clustered_share,
    interval,
    lowest_share,
    recorded,
    share_difference,
)
from pipeline.evaluation.suite import CAPTIONS, NO_SUBJECT, STYLE
from pipeline.params import Evaluate

DEFINITIONS = {
    "identity_train": "mean cosine of image embeddings, drawn picture against every training photo",
    "identity_heldout": "the same against the held-out photos, which training has not seen",
    "identity_masked": "the same against the held-out photos with nothing but the subject in them",
    "likeness": "(tuned - base) / (real - base) of the likeness to all photos: 0 is the base, 1 a real photo",
    "prompt_fidelity": "cosine of CLIP embeddings, drawn picture against its prompt without the token (CLIP-T)",
    "copy": "cosine to the nearest training photo (SSCD, Pizzi et al. 2022, where there is one)",
    "copied": "share of the subject's pictures so near to a training photo that they count as copies of it, pictures "
    "of training captions apart; Wilson's interval, with a design effect for seeds of one prompt that are alike",
    "train_gap": "likeness to training photos minus likeness to held-out photos",
    "diversity": "mean distance between the seeds of a prompt (DIV; LPIPS, Zhang et al. 2018, where there is one)",
    "class_likeness": "likeness of class-only pictures to the photos of the subject (PRES, Ruiz et al. 2022)",
    "class_as_subject": "share of class-only pictures that pass as the subject",
    "class_drift": "KID between class-only pictures of tuned model and base (Binkowski et al. 2018), over pairs of "
    "different prompts",
    "subject_free": "prompt fidelity on prompts without the subject",
    "style": "share of style prompts in whose pictures the CLIP finds the style asked for",
    "style_leak": "share of photo prompts in whose pictures the CLIP finds another style",
    "animal": "share of the subject's pictures nearer to the real animal than to the class noun",
    "success": "share of the subject's pictures that show the subject and what else the prompt asks for",
    "worst_success": "success on the tenth of the prompts where it is lowest",
    "name_forms": "difference of success between the token alone and the token with its class noun",
    "wording": "standard deviation of success between paraphrases of one meaning that name the subject alike, without "
    "what seeds alone would give: root of the mean variance over the meanings, negative where seeds give more",
    "complex": "success on prompts with three factors or more",
}


def judge(
    drawn: Sequence[DrawnPicture],
    references: Sequence[Reference],
    backbones: Backbones,
    vocabulary: Vocabulary,
    settings: Evaluate,
) -> dict[str, Any]:
    """Score every picture and sum up, by model and by group of prompts.

    Returns:
        `metrics` (rows with metric, model, group, value, low, high, prompts, pictures), `real_photos` (the same
        likeness among the photos themselves), `thresholds` (from which likeness and fidelity a picture succeeds),
        `missing` (what could not be measured, and why), `definitions`, `pictures` (the scores of each picture).
    """
    scores = _as_recorded(score(drawn, references, backbones, vocabulary))
    table = Table(scores, settings.bootstrap, settings.seed)
    lines = [*_likeness(table), *_copies(table, settings.copies_above), *_forgetting(table), *_styles(table)]
    thresholds = success_thresholds(table, settings)
    lines += _success(table, thresholds)
    drift = class_drift(scores)
    if drift is None:
        scores.missing["class_drift"] = "the suite has fewer than two prompts of the class"
    measured = {line.metric for line in lines} | ({"class_drift"} if drift is not None else set())
    for name in DEFINITIONS:
        if name not in measured:
            scores.missing.setdefault(name, "the suite has no prompts for it")
    for name in measured:
        scores.missing.pop(name, None)
    return {
        "definitions": {name: text for name, text in DEFINITIONS.items() if name in measured},
        "metrics": [_row(line) for line in lines],
        "class_drift": None if drift is None else round(drift, 6),
        "missing": scores.missing,
        "real_photos": {name: _rounded(value) for name, value in scores.photos.items()},
        "thresholds": thresholds,
        "pictures": [_picture(item, row) for item, row in zip(scores.drawn, scores.rows, strict=True)],
    }


def _as_recorded(scores: Scores) -> Scores:
    """Scores as `evaluation.json` holds them: what lies on a line there is on the line here."""
    rows = [{name: _rounded(value) for name, value in row.items()} for row in scores.rows]
    return replace(scores, rows=rows, photos={name: _rounded(value) for name, value in scores.photos.items()})


def success_thresholds(table: Table, settings: Evaluate) -> dict[str, float]:
    """From which likeness to all photos a picture shows the subject, and from which fidelity what else was asked for.

    The first is `evaluate.success_way` of the way from the base's twins to real photos, or the 5th percentile of
    real photos against those of other scenes; the second `evaluate.success_fidelity` of the base's mean on the twins,
    or their 10th percentile. Where there is no way from the base to the photos, the first is missing with its reason.
    """
    photos = table.scores.photos
    subject = table.choose("subject")
    base = table.table("base", subject, itemgetter("identity")).mean()
    texts = table.table("base", subject, lambda row: row["prompt_fidelity"])
    share = settings.success_fidelity
    found = {"prompt_fidelity": float(np.quantile(texts, 0.1) if share is None else share * texts.mean())}
    if settings.success_way is not None and "identity" in photos and photos["identity"] <= base:
        table.scores.missing["success"] = NO_WAY
    elif settings.success_way is not None and "identity" in photos:
        found["identity"] = float(base + settings.success_way * (photos["identity"] - base))
    elif settings.success_way is None and photos["each"]:
        found["identity"] = float(np.quantile(photos["each"], 0.05))
    else:
        table.scores.missing["success"] = ONE_SCENE
    return {name: _rounded(value) for name, value in found.items()}


def _likeness(table: Table) -> list[Line]:
    photos, subject = table.scores.photos, table.choose("subject")
    names = ["identity_train", "identity_heldout", "identity_masked", "prompt_fidelity"]
    found: list[Line] = []
    for name in names:
        if name in table.scores.missing:
            continue
        for group in ["all", *dict.fromkeys(table.prompts[prompt].group for prompt in subject)]:
            members = [prompt for prompt in subject if group in ("all", table.prompts[prompt].group)]
            found += table.pair(name, group, members, itemgetter(name))
    if "identity" not in photos:
        table.scores.missing["likeness"] = ONE_SCENE
        return found
    left = _way_left(table)
    if min(left[-1], np.quantile(left[:-1], (1 - LEVEL) / 2, method="lower")) <= 0:
        table.scores.missing["likeness"] = NO_WAY
        return found
    left = left.clip(1e-9)  # the few draws without a way lie beyond the interval, on the side of their difference
    rows = {model: table.table(model, subject, itemgetter("identity")) for model in ("tuned", "base")}
    gone = {
        model: np.append(table.resamples(*scores.shape).means(scores), scores.mean()) for model, scores in rows.items()
    }
    way = (gone["tuned"] - gone["base"]) / left
    return [*found, Line("likeness", "tuned", "all", interval(float(way[-1]), way[:-1], [rows["tuned"]]))]


def _way_left(table: Table) -> np.ndarray:
    """How far the photos are from the base in likeness, float64 [draws + 1]: in each draw, and last by the means.

    Where that is not surely positive, a share of it turns its sign, and says nothing near 0.
    """
    base = table.table("base", table.choose("subject"), itemgetter("identity"))
    return table.scores.photos["identity"] - np.append(table.resamples(*base.shape).means(base), base.mean())


def _copies(table: Table, above: float | None) -> list[Line]:
    found: list[Line] = []
    missing, photos = table.scores.missing, table.scores.photos
    subject, captions = table.choose("subject"), table.choose("caption")
    if "copy" not in missing and above is None and "copy_level" not in photos:
        missing["copy"] = COPIES_OF_ONE_SCENE
    if "copy" in missing:
        missing["copied"] = missing["copy"]
    else:
        level = photos["copy_level"] = photos["copy_level"] if above is None else _rounded(above)
        for row in table.scores.rows:
            row["copied"] = row["copy"] > level
        for group, prompts in (("all", subject), (CAPTIONS, captions)):
            if not prompts:
                continue
            found += table.pair("copy", group, prompts, itemgetter("copy"))
            for model in ("tuned", "base"):
                hits = table.table(model, prompts, lambda row: float(row["copied"]))
                nearness = table.table(model, prompts, itemgetter("copy"))
                found.append(Line("copied", model, group, clustered_share(hits, nearness)))
    if "identity_heldout" in missing:
        missing["train_gap"] = missing["identity_heldout"]
    else:
        found += table.pair("train_gap", "all", subject, lambda row: row["identity_train"] - row["identity_heldout"])
    if "diversity" not in missing:
        tuned, base = (
            np.array([[table.scores.distances[model, prompt]] for prompt in subject]) for model in ("tuned", "base")
        )
        found += table.ratio("diversity", "all", tuned, base)
    return found


def _forgetting(table: Table) -> list[Line]:
    found: list[Line] = []
    if prompts := table.choose("probe", lambda item: item.group == "class"):
        found += table.pair("class_likeness", "class", prompts, lambda row: row["identity_train"])
    if prompts := table.choose("probe", lambda item: item.group == NO_SUBJECT):
        found += table.pair("subject_free", NO_SUBJECT, prompts, lambda row: row["prompt_fidelity"])
    return found


def _styles(table: Table) -> list[Line]:
    found: list[Line] = []
    if "style" in table.scores.missing:
        table.scores.missing["style_leak"] = table.scores.missing["style"]
    else:
        if prompts := table.choose("subject", lambda item: item.group == STYLE and bool(item.style)):
            wanted = {prompt: table.prompts[prompt].style for prompt in prompts}
            right = [
                np.array(
                    [[float(table.rows[model, p, seed]["style"] == wanted[p]) for seed in table.seeds] for p in prompts]
                )
                for model in ("tuned", "base")
            ]
            found += table.ratio("style", STYLE, *right)
        if prompts := table.choose("subject", lambda item: item.style == "photo"):
            found += table.pair("style_leak", "photo", prompts, lambda row: float(row["style"] != "photo"))
    if "animal" not in table.scores.missing:
        found += table.pair("animal", "all", table.choose("subject"), lambda row: row["animal"])
    return found


def _success(table: Table, thresholds: dict[str, float]) -> list[Line]:
    if "identity" not in thresholds:
        for name in ("class_as_subject", "worst_success", "name_forms", "wording", "complex"):
            table.scores.missing[name] = table.scores.missing["success"]
        return []

    def shown(row: dict[str, Any]) -> float:
        return float(row["identity"] >= thresholds["identity"])

    def both(row: dict[str, Any]) -> float:
        return shown(row) * float(row["prompt_fidelity"] >= thresholds["prompt_fidelity"])

    found: list[Line] = []
    if prompts := table.choose("probe", lambda item: item.group == "class"):
        found += table.pair("class_as_subject", "class", prompts, shown)
    subject = table.choose("subject")
    for item, row in zip(table.scores.drawn, table.scores.rows, strict=True):
        if item.kind == "subject":
            row["success"] = both(row)
    found += table.pair("success", "all", subject, both)
    rates = table.table("tuned", subject, both)
    found.append(Line("worst_success", "tuned", "all", lowest_share(rates, WORST, table.resamples(*rates.shape))))
    names = ("token", "token and class noun")
    forms = [[prompt for prompt in subject if table.prompts[prompt].form == form] for form in names]
    if all(forms):
        tables = [table.table("tuned", prompts, both) for prompts in forms]
        first, second = (table.level(hits) for hits in tables)  # the two share no prompts: they are independent
        gap = share_difference(second, first)
        both_forms = replace(gap, prompts=first.prompts + second.prompts, pictures=first.pictures + second.pictures)
        found.append(Line("name_forms", "tuned", "all", both_forms))
    return [*found, *hard_prompts(table, subject, both)]


def _row(line: Line) -> dict[str, Any]:
    return {"metric": line.metric, "model": line.model, "group": line.group, **asdict(recorded(line.estimate))}


def _picture(item: DrawnPicture, row: dict[str, Any]) -> dict[str, Any]:
    place = {
        "model": item.model,
        "kind": item.kind,
        "group": item.group,
        "prompt_id": item.prompt_id,
        "seed": item.seed,
        "noise": item.noise,
    }
    return {**place, **{name: _rounded(value) for name, value in row.items()}}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    return [_rounded(item) for item in value] if isinstance(value, list) else value
