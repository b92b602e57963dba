"""Whether drawings follow the shapes that they were asked for, and what that costs in likeness."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from pipeline.evaluation.followed import LEAST_SHAPES, Followed, Following
from pipeline.evaluation.outline_network import outlines_of, overlaps
from pipeline.evaluation.reasons import NO_CONTROL, NO_HELDOUT, NO_SHAPES, NOT_ALIKE, ONE_FOLLOWED
from pipeline.evaluation.statistics import Estimate, Resamples, interval, recorded
from pipeline.sampling.control_pictures import control_picture, square_of

DEFINITIONS = {
    "control": "how far the shape drawn agrees with the one asked for by a control picture: of silhouettes the "
    "intersection over union, of edges the F-measure of those about the shape that have one of the other near them; it "
    "does not ask whether the subject is there, which control_cost shows of the same drawings",
    "control_cost": "share of the mean cosine to the held-out photos that is lost by following a control picture",
}
NEAR = 1 / 64  # of the side: edges so near to each other are one
ABOUT = 1 / 16  # of the side: edges farther from the shape belong to the scene, which nobody asked for
Agreement = Callable[[Sequence[Followed]], tuple[list[float], list[float]]]


def outline_agreement(drawings: Sequence[Followed], net: Any) -> tuple[list[float], list[float]]:
    """Intersection over union of each silhouette asked for with the drawing's, and with that of the free drawing."""
    wanted = _pixels([one.shape for one in drawings])[:, :1] / 2 + 0.5
    sets = ([one.path for one in drawings], [one.free for one in drawings])
    with_shape, without = (overlaps(outlines_of(net, _pixels(files)), wanted).tolist() for files in sets)
    return with_shape, without


def edge_agreement(drawings: Sequence[Followed]) -> tuple[list[float], list[float]]:
    """The F-measure of the edges asked for and drawn, and of those of the free drawing (Martin et al. 2004)."""
    found: tuple[list[float], list[float]] = ([], [])
    for one in drawings:
        wanted = np.asarray(Image.open(one.shape).convert("L")) > 127
        for values, file in zip(found, (one.path, one.free), strict=True):
            values.append(f_measure(wanted, _edges(file)))
    return found


def photo_agreement(following: Following, photos: Path) -> float:
    """The mean F-measure of the photos' own edges and of the shapes that were made of them: what drawings could reach.

    Args:
        photos: the folder of the prepared photos.
    """
    shapes = {one.photo: one.shape for one in following.drawings}
    found = [
        f_measure(np.asarray(Image.open(shape).convert("L")) > 127, _edges(photos / name, Image.open(shape).size))
        for name, shape in shapes.items()
    ]
    return float(np.mean(found))


def f_measure(wanted: np.ndarray, drawn: np.ndarray) -> float:
    """Of two sets of pixels, bool [h, w]: the harmonic mean of the shares that have one of the other set near them.

    What is drawn far from everything wanted is left out.
    """
    side = wanted.shape[0]
    drawn = drawn & _grown(wanted, max(1, round(ABOUT * side)))
    if not wanted.any() or not drawn.any():
        return 0.0
    reach = max(1, round(NEAR * side))
    precision = float(_grown(wanted, reach)[drawn].mean())
    recall = float(_grown(drawn, reach)[wanted].mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def judge_following(
    following: Following | None, agreement: Agreement | None, likeness: Callable[[list[Path]], np.ndarray] | None,
    draws: int, seed: int,
) -> dict[str, Any]:  # fmt: skip
    """The rows of the metrics, definitions, what is missing and why, the section `control`, and the drawings.

    Args:
        following: what was drawn; None where `sample.control` asks for nothing.
        agreement: of the drawings, and of the free ones, with the shapes.
        likeness: mean cosine of each picture to the held-out photos; None where there are none.
        draws, seed: of the bootstrap, which draws shapes, then the pictures of each.
    """
    if following is None or agreement is None:
        return _found(missing=dict.fromkeys(DEFINITIONS, NO_CONTROL))
    drawings = following.drawings
    shapes = sorted({one.photo for one in drawings})
    if len(shapes) < LEAST_SHAPES:
        reason = ONE_FOLLOWED if len({one.prompt_id for one in drawings}) == 1 else NO_SHAPES
        return _found(missing=dict.fromkeys(DEFINITIONS, reason))

    def table(values: Sequence[float]) -> np.ndarray:
        return np.array([[v for v, one in zip(values, drawings, strict=True) if one.photo == name] for name in shapes])

    agreed, free = (table(values) for values in agreement(drawings))
    prompts = len({one.prompt_id for one in drawings})
    resamples = Resamples(agreed.shape[0], agreed.shape[1], draws, seed)

    def estimate(rows: np.ndarray) -> Estimate:
        return interval(float(rows.mean()), resamples.means(rows), [rows])

    found, missing = {"control": estimate(agreed)}, {}
    if likeness is None:
        missing["control_cost"] = NO_HELDOUT
    else:
        kept, whole = (table(likeness(files).tolist()) for files in _files(drawings))
        all_draws = resamples.means(whole)
        if min(whole.mean(), float(all_draws.min())) <= 0:
            missing["control_cost"] = NOT_ALIKE
        else:
            lost = (resamples.means(whole) - resamples.means(kept)) / all_draws
            found["control_cost"] = interval(1 - float(kept.mean() / whole.mean()), lost, [kept])
    section = {
        **following.control,
        "digest": following.digest,
        "instrument": following.instrument,
        "shapes": len(shapes),
        "free": _figure(estimate(free)),
        "gained": _figure(estimate(agreed - free)),
        "pictures": [{"photo": one.photo, "prompt_id": one.prompt_id, "seed": one.seed} for one in drawings],
    }
    return _found({name: _row(name, value, prompts) for name, value in found.items()}, missing, section, drawings)


def add_following(evaluation: dict[str, Any], found: dict[str, Any]) -> None:
    """Put what `judge_following` found into an evaluation, in place."""
    evaluation["metrics"] = [*evaluation["metrics"], *found["metrics"]]
    evaluation["definitions"] = {**evaluation["definitions"], **found["definitions"]}
    evaluation["missing"] = {**evaluation["missing"], **found["missing"]}


def _found(
    rows: dict[str, dict[str, Any]] | None = None,
    missing: dict[str, str] | None = None,
    section: dict[str, Any] | None = None,
    drawings: Sequence[Followed] = (),
) -> dict[str, Any]:
    rows = rows or {}
    return {
        "metrics": list(rows.values()),
        "definitions": {name: text for name, text in DEFINITIONS.items() if name in rows},
        "missing": missing or {},
        "control": section,
        "drawings": list(drawings),
    }


def _row(metric: str, found: Estimate, prompts: int) -> dict[str, Any]:
    counts = {"prompts": prompts, "pictures": found.pictures}
    return {"metric": metric, "model": "tuned", "group": "all", **_figure(found), **counts}


def _figure(found: Estimate) -> dict[str, float]:
    written = recorded(found)
    return {"value": written.value, "low": written.low, "high": written.high}


def _files(drawings: Sequence[Followed]) -> tuple[list[Path], list[Path]]:
    return [one.path for one in drawings], [one.free for one in drawings]


def _pixels(files: Sequence[Path]) -> torch.Tensor:
    """RGB pictures of one size, float32 [count, 3, h, w] in -1..1."""
    pixels = np.stack([np.asarray(Image.open(file).convert("RGB"), np.float32) for file in files])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1


def _edges(file: Path, size: tuple[int, int] | None = None) -> np.ndarray:
    picture = Image.open(file).convert("RGB")
    picture = square_of(picture).resize(size) if size is not None else picture
    try:
        return np.asarray(control_picture(picture, "edges")) > 127
    except ValueError:  # a picture without any
        return np.zeros((picture.height, picture.width), bool)


def _grown(pixels: np.ndarray, reach: int) -> np.ndarray:
    """Pixels [h, w] and all within `reach` of one of them, along rows and columns."""
    from PIL import ImageFilter

    grown = Image.fromarray(pixels.astype(np.uint8) * 255).filter(ImageFilter.MaxFilter(2 * reach + 1))
    return np.asarray(grown) > 127
