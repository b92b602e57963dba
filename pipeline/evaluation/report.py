"""The report: one static page with its pictures beside it, readable on a phone and without a network."""

import shutil
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from pipeline.evaluation.contact_sheet import draw_grid
from pipeline.evaluation.report_facts import facts, grid_rows
from pipeline.evaluation.report_inputs import ReportInputs, picture_file
from pipeline.files import whole_folder, write_text

THUMB = 256  # pixels; a larger picture gets a thumbnail beside it


def write_report(folder: Path, inputs: ReportInputs) -> None:
    """Write `index.html`, `grid.png` and the pictures into `folder`, which appears once it is complete."""
    with whole_folder(folder) as fresh:
        for photo in inputs.photos:
            _add(fresh, f"photos/{Path(photo.file).name}", inputs.prepared / photo.file)
        for item in [*inputs.drawn, *inputs.by_recipe]:
            _add(fresh, picture_file(item.model, item.prompt_id, item.seed), item.path)
        for one in inputs.followed:
            _add(fresh, picture_file("control", one.prompt_id, one.seed), one.path)
            _add(fresh, f"control/{one.shape.name}", one.shape)
        if inputs.candidates:
            shutil.copy(inputs.candidates, fresh / "candidates.png")
        shown = sorted(inputs.photos, key=lambda photo: photo.split != "train")
        draw_grid([inputs.prepared / photo.file for photo in shown], grid_rows(inputs)).save(fresh / "grid.png")
        environment = Environment(
            loader=PackageLoader("pipeline", "evaluation"), autoescape=True, undefined=StrictUndefined
        )
        environment.globals["small"] = lambda file: f"thumbs/{file}" if (fresh / "thumbs" / file).is_file() else file
        write_text(fresh / "index.html", environment.get_template("report.html.j2").render(facts(inputs)))


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
