"""The report: one static page with its pictures beside it, readable on a phone and without a network."""

import shutil
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from pipeline.evaluation.contact_sheet import draw_grid
from pipeline.evaluation.report_facts import facts, grid_rows
from pipeline.evaluation.report_inputs import Material, picture_file
from pipeline.files import whole_folder, write_text

THUMB = 256  # pixels; a larger picture gets a thumbnail beside it


def write_report(folder: Path, material: Material) -> None:
    """Write `index.html`, `grid.png` and the pictures into `folder`, which appears when all of it is there."""
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
