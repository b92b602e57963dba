"""Drawings that follow the shapes of the training photos."""

import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.base.control_adapter import ControlAdapter
from pipeline.evaluation.suite import noise_of
from pipeline.files import digest_file, digest_value, write_jsonl
from pipeline.layout import DRAWN, FOLLOWED, SHAPE_FILE
from pipeline.params import Params
from pipeline.sampling.composition import Control
from pipeline.sampling.recipe import Recipe
from pipeline.stages.asked_shapes import Asked, drawn_with

if TYPE_CHECKING:
    from PIL.Image import Image

    from pipeline.sampling.recipe_source import RecipeModel


def draw_following(
    workspace: Path, params: Params, adapter: ControlAdapter, asked: Sequence[Asked], model: "RecipeModel", folder: Path
) -> Path:
    """Draw what is asked for with each seed, and write pictures, shapes and their list (`FOLLOWED`) into `folder`.

    Returns:
        The folder that keeps the drawings until the stage has them all.
    """
    from pipeline.base.digest import settings_digest
    from pipeline.sampling.control import Guide, load_control
    from pipeline.sampling.credentials import pixel_digest
    from pipeline.sampling.gallery import draw_missing
    from pipeline.sampling.sampler import Request
    from pipeline.sampling.source import drawing_environment

    wanted = params.sample.control
    assert wanted is not None
    settings, draw = Control(kind=wanted.kind, scale=wanted.scale), params.sample.draw
    by = drawn_with(adapter, wanted, model.tuned.digest, draw)
    kept = workspace / DRAWN / digest_value([by, settings_digest(model.tuned.folder), drawing_environment()])[:32]
    network = cache(lambda: load_control(adapter.folder, model.pipe.unet))
    (folder / SHAPE_FILE.parent).mkdir()
    rows: list[dict[str, Any]] = []
    for number, name in enumerate(dict.fromkeys(one.photo for one in asked)):
        those = [one for one in asked if one.photo == name]
        shape = those[0].shape

        def load(shape: "Image" = shape) -> Any:
            return model.sampler(Recipe(control=settings), draw.scheduler, Guide(shape, network(), settings))

        wants = [(one, seed) for one in those for seed in params.sample.seeds]
        requests = [Request(one.text, noise_of(one.prompt_id, seed)) for one, seed in wants]
        place = kept / pixel_digest(shape.convert("RGB"))[:32]
        files = draw_missing(load, requests, draw, shape.width, place, f"shape {number + 1}")
        shape_file = str(SHAPE_FILE).format(Path(name).name)
        shape.save(folder / shape_file)
        for (one, seed), file in zip(wants, files, strict=True):
            target = f"{SHAPE_FILE.parent}/{one.prompt_id}-{seed}.png"
            shutil.copy(file, folder / target)
            rows.append(
                {
                    "prompt_id": one.prompt_id,
                    "text": one.text,
                    "seed": seed,
                    "noise": noise_of(one.prompt_id, seed),
                    "photo": one.photo,
                    "path": target,
                    "sha256": digest_file(folder / target),
                    "shape": shape_file,
                    "shape_sha256": digest_file(folder / shape_file),
                    "drawn_by": by,
                }
            )
    write_jsonl(folder / FOLLOWED.name, rows)
    return kept
