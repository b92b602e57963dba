"""How near the pictures come to the subject and to their prompts: the tuned model against the base."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline.evaluation.backbones import Clip, Encoder
from pipeline.evaluation.statistics import two_level_bootstrap
from pipeline.params import Evaluate

DEFINITIONS = {
    "identity_train": "mean cosine of image embeddings, drawn picture against every training photo",
    "identity_heldout": "the same against the held-out photos, which training has not seen",
    "prompt_fidelity": "cosine of CLIP embeddings, drawn picture against its prompt without the token (CLIP-T)",
}


@dataclass(frozen=True)
class Drawn:
    """A drawn picture: its file, the model, where in the suite it stands, and the prompt without the token."""

    path: Path
    model: str
    kind: str
    prompt_id: str
    group: str
    twin: str
    seed: int


def judge(
    drawn: Sequence[Drawn],
    train: Sequence[Path],
    heldout: Sequence[Path],
    clip: Clip,
    settings: Evaluate,
    identity: Encoder | None = None,
) -> dict[str, Any]:
    """Score every picture and sum up by model and group.

    Of each metric there is the tuned model's figure, the base's on the twins with the same seeds, and the
    difference picture by picture. Without held-out photos the figures that need them are listed as missing. Pictures
    are compared with photos by `identity`, or by the CLIP where there is none (that is CLIP-I).

    Returns:
        `metrics` (rows with metric, model, group, value, low, high, prompts, pictures), `real_photos` (the same
        similarity among the photos themselves, as a yardstick), `missing`, `pictures` (the scores of each picture).
    """
    encoder, files = identity or clip, [item.path for item in drawn]
    pictures = clip.pictures(files)
    looks = encoder.pictures(files) if identity else pictures
    texts = dict(zip(names := list(dict.fromkeys(item.twin for item in drawn)), clip.texts(names), strict=True))
    references = {"identity_train": encoder.pictures(train)}
    missing = {}
    if heldout:
        references["identity_heldout"] = encoder.pictures(heldout)
    else:
        missing["identity_heldout"] = "no photo was held out (prepare.heldout is 0)"
    scores: list[dict[str, float]] = []
    for item, vector, look in zip(drawn, pictures, looks, strict=True):
        row = {name: float((photos @ look).mean()) for name, photos in references.items()}
        row["prompt_fidelity"] = float(vector @ texts[item.twin])
        scores.append(row)
    metrics = [row for name in [*references, "prompt_fidelity"] for row in _rows(name, drawn, scores, settings)]
    return {
        "definitions": {name: text for name, text in DEFINITIONS.items() if name not in missing},
        "metrics": metrics,
        "missing": missing,
        "real_photos": real_photos(references),
        "pictures": [
            {"model": item.model, "prompt_id": item.prompt_id, "seed": item.seed, **_rounded(row)}
            for item, row in zip(drawn, scores, strict=True)
        ],
    }


def real_photos(references: dict[str, torch.Tensor]) -> dict[str, float]:
    """Mean cosine among the photos themselves: training photos with each other, held-out ones with training ones."""
    train = references["identity_train"]
    found = {}
    if len(train) > 1:
        pairs = train @ train.T
        others = pairs.sum() - pairs.diagonal().sum()
        found["identity_train"] = round(float(others) / (len(train) * (len(train) - 1)), 4)
    if "identity_heldout" in references:
        found["identity_heldout"] = round(float((references["identity_heldout"] @ train.T).mean()), 4)
    return found


def _rows(
    metric: str, drawn: Sequence[Drawn], scores: Sequence[dict[str, float]], settings: Evaluate
) -> list[dict[str, Any]]:
    by_place = {(item.model, item.prompt_id, item.seed): row[metric] for item, row in zip(drawn, scores, strict=True)}
    subject = [item for item in drawn if item.kind == "subject" and item.model == "tuned"]
    measures: dict[str, Callable[[Drawn], float]] = {
        "tuned": lambda item: by_place["tuned", item.prompt_id, item.seed],
        "base": lambda item: by_place["base", item.prompt_id, item.seed],
        "difference": lambda item: (
            by_place["tuned", item.prompt_id, item.seed] - by_place["base", item.prompt_id, item.seed]
        ),
    }
    groups = ["all", *dict.fromkeys(item.group for item in subject)]
    found = []
    for group in groups:
        members = [item for item in subject if group in ("all", item.group)]
        for model, measure in measures.items():
            values: dict[str, list[float]] = {}
            for item in members:
                values.setdefault(item.prompt_id, []).append(measure(item))
            estimate = asdict(two_level_bootstrap(values, settings.bootstrap, settings.seed))
            found.append({"metric": metric, "model": model, "group": group, **_rounded(estimate)})
    return found


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()}
