"""Drawings after shapes, as the stage `evaluate` takes them from `sample`: checked, and judged."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from pipeline.base.control_adapter import ControlAdapter
from pipeline.base.sample_control import find_outliner
from pipeline.evaluation.followed import Followed, Following
from pipeline.evaluation.following import Agreement, edge_agreement, judge_following, outline_agreement, photo_agreement
from pipeline.evaluation.judged_pictures import AGAIN, SamplesError
from pipeline.evaluation.outline_network import load_outliner
from pipeline.evaluation.suite import Suite, noise_of
from pipeline.files import digest_file, read_json, read_jsonl
from pipeline.layout import FOLLOWED, MANIFEST, PREPARED, SAMPLES
from pipeline.params import Params
from pipeline.photos.manifest import read_manifest
from pipeline.stages.asked_shapes import Asked, asked_shapes, drawn_with

if TYPE_CHECKING:
    import numpy as np
    import torch

    from pipeline.evaluation.backbones import Encoder

FILES = (("path", "sha256"), ("shape", "shape_sha256"))  # of a drawing, each with its digest


def read_following(
    workspace: Path, params: Params, adapter: ControlAdapter, asked: Sequence[Asked], model: str
) -> Following:
    """What `draw_following` drew, checked against what is asked for now.

    Args:
        model: content digest of the tuned model.

    Raises:
        SamplesError: drawings are missing, changed, of other prompts, seeds or shapes, or drawn with something else.
    """
    wanted = params.sample.control
    assert wanted is not None
    folder, index = workspace / SAMPLES, workspace / FOLLOWED
    if not index.is_file():
        raise SamplesError(f"{index} does not exist; {AGAIN}")
    rows, by = read_jsonl(index), drawn_with(adapter, wanted, model, params.sample.draw)
    expected = {
        (one.prompt_id, seed): (one.text, one.photo, noise_of(one.prompt_id, seed))
        for one in asked
        for seed in params.sample.seeds
    }
    try:
        found = {(row["prompt_id"], row["seed"]): (row["text"], row["photo"], row.get("noise")) for row in rows}
        files = {(row[name], row[digest]) for row in rows for name, digest in FILES}
    except (KeyError, TypeError):
        raise SamplesError(f"{index} is not a list of drawings after shapes; {AGAIN}") from None
    if found != expected or len(rows) != len(expected) or any(row.get("drawn_by") != by for row in rows):
        raise SamplesError(f"{index} does not list what sample.control asks for, drawn by this model; {AGAIN}")
    for file, digest in sorted(files):
        if not (folder / file).is_file() or digest_file(folder / file) != digest:
            raise SamplesError(f"{folder / file} is missing, or was changed after it was drawn; {AGAIN}")
    shapes = {one.photo: one.shape for one in asked}
    for photo, shape in {(row["photo"], row["shape"]) for row in rows}:
        with Image.open(folder / shape) as kept:
            if kept.convert("L").tobytes() != shapes[photo].tobytes():
                raise SamplesError(f"{folder / shape} is not the shape of {photo} as it is; {AGAIN}")
    drawings = [
        Followed(
            path=folder / row["path"],
            free=folder / "tuned" / f"{row['prompt_id']}-{row['seed']}.png",
            shape=folder / row["shape"],
            photo=row["photo"],
            prompt_id=row["prompt_id"],
            seed=row["seed"],
        )
        for row in rows
    ]
    return Following(wanted.model_dump(), adapter.digest, drawings)


def judged_following(
    workspace: Path,
    params: Params,
    adapter: ControlAdapter | None,
    suite: Suite,
    encoder: "Encoder",
    model: str,
    size: int,
) -> dict[str, Any]:
    """What `judge_following` finds in the drawings of the stage `sample`, by the judges of the parameters.

    Args:
        encoder: judges likeness.
        model: content digest of the tuned model.
        size: pixels along a side of the drawings.
    """
    wanted, settings = params.sample.control, params.evaluate
    if adapter is None or wanted is None:
        return judge_following(None, None, None, settings.bootstrap, settings.seed)
    photos = read_manifest(workspace / MANIFEST)
    asked = asked_shapes(workspace, wanted, suite, photos, size)
    following = read_following(workspace, params, adapter, asked, model)
    outliner = find_outliner(wanted, params.base)
    agreement: Agreement = edge_agreement
    if following.drawings and outliner is None:
        following = replace(following, instrument=photo_agreement(following, workspace / PREPARED))
    elif outliner is not None:
        following = replace(following, instrument=float(read_json(outliner / "measured.json")["overlap"]))
        agreement = partial(outline_agreement, net=load_outliner(outliner / "outline.safetensors"))
    held = [workspace / PREPARED / photo.file for photo in photos if photo.split == "heldout"]
    likeness = partial(likeness_to, encoder.pictures(held), encoder) if held else None
    return judge_following(following, agreement, likeness, settings.bootstrap, settings.seed)


def likeness_to(photos: "torch.Tensor", encoder: "Encoder", files: list[Path]) -> "np.ndarray":
    """Mean cosine of each picture to `photos`, the embeddings [n, dim] of photos: [len(files)]."""
    return (encoder.pictures(files) @ photos.T).mean(dim=1).numpy()
