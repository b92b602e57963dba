"""The report: one static page with its pictures beside it, readable on a phone and without a network."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from pipeline.evaluation.drawn import Drawn
from pipeline.evaluation.grid import draw_grid
from pipeline.evaluation.suite import Suite
from pipeline.files import whole_folder, write_text
from pipeline.params import Params
from pipeline.photos.manifest import Photo

THUMB = 256  # pixels; a larger picture gets a thumbnail beside it


@dataclass(frozen=True)
class Material:
    """What a report is made of; paths are those of the files now, they are copied into the report."""

    params: Params
    photos: Sequence[Photo]
    prepared: Path
    suite: Suite
    drawn: Sequence[Drawn]
    evaluation: dict[str, Any]
    lineage: dict[str, Any]
    selection: dict[str, Any]
    candidates: Path | None = None


def write_report(folder: Path, material: Material) -> None:
    """Write `index.html`, `grid.png` and the pictures into `folder`, which appears when all of it is there."""
    from pipeline.evaluation.report_facts import facts, grid_rows

    with whole_folder(folder) as fresh:
        for photo in material.photos:
            _add(fresh, f"photos/{Path(photo.file).name}", material.prepared / photo.file)
        for item in material.drawn:
            _add(fresh, picture_file(item.model, item.prompt_id, item.seed), item.path)
        if material.candidates:
            shutil.copy(material.candidates, fresh / "candidates.png")
        shown = sorted(material.photos, key=lambda photo: photo.split != "train")
        draw_grid([material.prepared / photo.file for photo in shown], grid_rows(material)).save(fresh / "grid.png")
        environment = Environment(
            loader=PackageLoader("pipeline", "evaluation"), autoescape=True, undefined=StrictUndefined
        )
        environment.globals["small"] = lambda file: f"thumbs/{file}" if (fresh / "thumbs" / file).is_file() else file
        write_text(fresh / "index.html", environment.get_template("report.html.j2").render(facts(material)))


def picture_file(model: str, prompt: str, seed: int) -> str:
    """Where a drawn picture lies in the report's folder."""
    return f"{model}/{prompt}-{seed}.png"


def _add(folder: Path, name: str, source: Path) -> None:
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)
    with Image.open(source) as picture:
        if max(picture.size) > THUMB:
            small = folder / "thumbs" / name
            small.parent.mkdir(parents=True, exist_ok=True)
            reduced = picture.convert("RGB")
            reduced.thumbnail((THUMB, THUMB), Image.Resampling.LANCZOS)
            reduced.save(small, format="PNG", optimize=True)


def sentence(evaluation: dict[str, Any], token: str) -> str:
    """What the figures say of likeness and fidelity, in two sentences for a person."""
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
