"""The report: one static page with its pictures beside it, readable on a phone and without a network."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from pipeline.evaluation.grid import draw_grid
from pipeline.evaluation.judge import Drawn
from pipeline.files import whole_folder, write_text
from pipeline.params import Params, dump_params, flat_params
from pipeline.photos.manifest import Photo

NAMES = {
    "identity_train": "likeness to the training photos",
    "identity_heldout": "likeness to the held-out photos",
    "prompt_fidelity": "fidelity to the prompt",
}


@dataclass(frozen=True)
class Material:
    """What a report is made of; paths are those of the files now, they are copied into the report."""

    params: Params
    photos: Sequence[Photo]
    prepared: Path
    prompts: dict[str, str]
    drawn: Sequence[Drawn]
    evaluation: dict[str, Any]
    lineage: dict[str, Any]


def write_report(folder: Path, material: Material) -> None:
    """Write `index.html`, `grid.png` and the pictures into `folder`, which appears when all of it is there."""
    with whole_folder(folder) as fresh:
        (fresh / "photos").mkdir()
        for photo in material.photos:
            shutil.copy(material.prepared / photo.file, fresh / "photos" / Path(photo.file).name)
        for item in material.drawn:
            (fresh / item.model).mkdir(exist_ok=True)
            shutil.copy(item.path, fresh / item.model / item.path.name)
        draw_grid(_references(material), _grid_rows(material)).save(fresh / "grid.png")
        environment = Environment(
            loader=PackageLoader("pipeline", "evaluation"), autoescape=True, undefined=StrictUndefined
        )
        write_text(fresh / "index.html", environment.get_template("report.html.j2").render(_facts(material)))


def sentence(evaluation: dict[str, Any], token: str) -> str:
    """What the figures say, in one or two sentences for a person."""
    metric = "identity_heldout" if "identity_heldout" not in evaluation["missing"] else "identity_train"
    gain = find_metric(evaluation, metric, "difference")
    kind = "held-out" if metric == "identity_heldout" else "training"
    if gain["low"] > 0:
        first = f"Asked for {token}, the tuned model draws pictures nearer to the {kind} photos than the base does"
    elif gain["high"] < 0:
        first = f"Asked for {token}, the tuned model draws pictures farther from the {kind} photos than the base does"
    else:
        first = f"The figures do not tell the tuned model from the base on the {kind} photos"
    first += f" ({gain['value']:+.3f}, 95 % interval {gain['low']:+.3f} to {gain['high']:+.3f})."
    text = find_metric(evaluation, "prompt_fidelity", "difference")
    how = "less closely" if text["high"] < 0 else "more closely" if text["low"] > 0 else "about as well"
    return f"{first} It follows the rest of the prompt {how} ({text['value']:+.3f})."


def find_metric(evaluation: dict[str, Any], metric: str, model: str, group: str = "all") -> dict[str, Any]:
    """The one row of `evaluation.json` with that metric, model and group."""
    (row,) = (
        row for row in evaluation["metrics"] if (row["metric"], row["model"], row["group"]) == (metric, model, group)
    )
    return row


def _references(material: Material) -> list[Path]:
    shown = sorted(material.photos, key=lambda photo: photo.split != "train")
    return [material.prepared / photo.file for photo in shown]


def _grid_rows(material: Material) -> list[tuple[str, list[tuple[Path, Path]]]]:
    files = {(item.model, item.prompt_id, item.seed): item.path for item in material.drawn}
    seeds = sorted({item.seed for item in material.drawn})[:3]
    subject = dict.fromkeys(item.prompt_id for item in material.drawn if item.kind == "subject")
    return [
        (material.prompts[prompt], [(files["base", prompt, seed], files["tuned", prompt, seed]) for seed in seeds])
        for prompt in subject
    ]


def _rows(material: Material, kind: str) -> list[dict[str, Any]]:
    rows = []
    for prompt in dict.fromkeys(item.prompt_id for item in material.drawn if item.kind == kind):
        found = [item for item in material.drawn if item.prompt_id == prompt]
        found.sort(key=lambda item: (item.seed, item.model))
        pictures = [
            {"file": f"{item.model}/{item.path.name}", "model": item.model, "seed": item.seed} for item in found
        ]
        rows.append({"prompt": material.prompts[prompt], "pictures": pictures})
    return rows


def _figures(evaluation: dict[str, Any]) -> list[dict[str, str]]:
    rows = []
    for base in evaluation["metrics"]:
        if base["model"] != "base":
            continue
        metric, group = base["metric"], base["group"]
        tuned = find_metric(evaluation, metric, "tuned", group)
        gap = find_metric(evaluation, metric, "difference", group)
        real = evaluation["real_photos"].get(metric)
        rows.append(
            {
                "name": NAMES[metric],
                "group": f"{group} ({gap['prompts']})",
                "base": f"{base['value']:.3f}",
                "tuned": f"{tuned['value']:.3f}",
                "difference": f"{gap['value']:+.3f} ({gap['low']:+.3f} to {gap['high']:+.3f})",
                "sign": "up" if gap["low"] > 0 else "down" if gap["high"] < 0 else "",
                "real": f"{real:.3f}" if real is not None and group == "all" else "",
            }
        )
    return rows


def _facts(material: Material) -> dict[str, Any]:
    params, lineage, evaluation = material.params, material.lineage, material.evaluation
    base = lineage["base"]
    article, encoder = _article(params.subject.class_noun), evaluation["identity_encoder"]
    return {
        "subject": params.subject,
        "heading": f"Does the model know {params.subject.token}?",
        "sentence": sentence(evaluation, params.subject.token),
        "photos": [
            {
                "file": f"photos/{Path(photo.file).name}",
                "source": photo.source,
                "caption": photo.caption,
                "heldout": photo.split == "heldout",
            }
            for photo in material.photos
        ],
        "article_class": f"{article} {params.subject.class_noun}",
        "rows": _rows(material, "subject"),
        "probes": _rows(material, "probe"),
        "columns": min(6, 2 * len(params.sample.seeds)),
        "figures": _figures(evaluation),
        "definitions": {NAMES[name]: text for name, text in evaluation["definitions"].items()},
        "missing": {NAMES[name]: text for name, text in evaluation["missing"].items()},
        "origin": {
            "content digest of the model": lineage["weights"]["content_digest"],
            "photos (DVC)": lineage["photos"]["dvc_md5"],
            "parameters": lineage["params_digest"],
            "base model": f"{base['model']} {base['revision'] or ''}".strip(),
            "digest of the base": base["digest"],
            "code": lineage["code"]["commit"] or "unknown",
            "training run": lineage["training"]["run_id"],
            "suite": f"{evaluation['suite']['name']} {evaluation['suite']['digest']}",
            "CLIP (prompts)": f"{evaluation['scorer']['model']} {evaluation['scorer']['digest']}",
            "encoder (likeness)": f"{encoder['model']} {encoder['digest']}",
        },
        "parameters": flat_params(dump_params(params)),
    }


def _article(noun: str) -> str:
    return "an" if noun[0].lower() in "aeiou" else "a"
