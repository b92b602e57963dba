"""Stage `sample`: the suite's prompts drawn by the chosen model, their twins by the base, with the same seeds.

Where a search found a recipe, the model draws the prompts once more with it; and where `sample.control` asks for it,
some of them after the shapes of the training photos.
"""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.base.resolve import resolve_base
from pipeline.base.sample_control import check_adapter_fits, find_adapter
from pipeline.evaluation.deciding import suite_of
from pipeline.files import digest_file, read_json, whole_folder, write_jsonl
from pipeline.layout import MANIFEST, MODEL, RECIPE, SAMPLES, SAMPLES_INDEX
from pipeline.params import Params
from pipeline.photos.manifest import read_manifest, training_captions
from pipeline.sampling.recipe import recipe_of
from pipeline.sampling.source import Source
from pipeline.stages import main
from pipeline.stages.asked_shapes import asked_shapes
from pipeline.stages.following import draw_following
from pipeline.stages.pictures import draw_suite


def run(workspace: Path, params: Params) -> None:
    """Write `artifacts/samples/`: `tuned/*.png`, `base/*.png`, perhaps `recipe/*.png`, and `samples.jsonl`, their list;
    and perhaps `control/*.png` with `control.jsonl`.

    Pictures are kept one by one as they are drawn, so that a killed stage resumes where it was.

    Raises:
        SuiteError: a suite cannot be used, or two that decide share prompts, captions of training photos or seeds.
        BaseNotFound: the base, or a control adapter for it, is not available.
    """
    photos = read_manifest(workspace / MANIFEST)
    suite = suite_of("sample", params, training_captions(photos))
    base, adapter = resolve_base(params.base), find_adapter(params.sample.control, params.base)
    if adapter is not None:
        check_adapter_fits(adapter, base.folder)

    from pipeline.lineage.digests import content_digest
    from pipeline.sampling.layers import Words
    from pipeline.sampling.recipe_source import RecipeModel, recipe_source

    size = params.prepare.size or base.size
    tuned = Source("tuned", workspace / MODEL, content_digest(workspace / MODEL))
    plain = Source("base", base.folder, base.digest, base.variant)
    sources, digests = [tuned, plain], {"tuned": tuned.digest, "base": plain.digest}
    recipe = recipe_of(read_json(workspace / RECIPE), str(RECIPE))
    words = Words(params.subject.token, params.subject.class_noun)
    model = RecipeModel(tuned, plain, words, params.sample.draw.precision)
    if recipe.changed:
        searched = recipe_source("recipe", model, recipe)
        sources.append(searched)
        digests["recipe"] = searched.drawn_by
    drawn = draw_suite(workspace, suite, params.sample.seeds, params.sample.draw, size, sources)
    rows: list[dict[str, Any]] = []
    settings = params.sample.draw.settings
    kept: list[Path] = []
    with whole_folder(workspace / SAMPLES) as folder:
        for item in drawn:
            file = f"{item.model}/{item.prompt_id}-{item.seed}.png"
            (folder / file).parent.mkdir(exist_ok=True)
            shutil.copy(item.path, folder / file)
            by = {"drawn_by": digests[item.model], "draw": settings}
            rows.append({**asdict(item), "noise": item.noise, "path": file, "sha256": digest_file(folder / file), **by})
        write_jsonl(folder / SAMPLES_INDEX.name, rows)
        if adapter is not None and params.sample.control is not None:
            asked = asked_shapes(workspace, params.sample.control, suite, photos, size)
            kept.append(draw_following(workspace, params, adapter, asked, model, folder))
    for source in sources:
        if source is not plain:
            shutil.rmtree(source.drawn(workspace))
    for drawings in kept:
        shutil.rmtree(drawings, ignore_errors=True)


if __name__ == "__main__":
    main(run)
