"""What a report is made of, and the sentence that its figures allow."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.evaluation.drawn_picture import DrawnPicture
from pipeline.evaluation.followed import Followed
from pipeline.evaluation.known_interval import FEWEST, has_interval, interval_words
from pipeline.evaluation.likeness import likeness_metric
from pipeline.evaluation.suite import Suite
from pipeline.params import Params
from pipeline.photos.manifest import Photo


@dataclass(frozen=True)
class ReportInputs:
    """What a report is made of; paths are those of the files now, they are copied into the report."""

    params: Params
    photos: Sequence[Photo]
    prepared: Path
    suite: Suite
    drawn: Sequence[DrawnPicture]
    evaluation: dict[str, Any]
    lineage: dict[str, Any]
    selection: dict[str, Any]
    candidates: Path | None = None
    by_recipe: Sequence[DrawnPicture] = ()
    followed: Sequence[Followed] = ()


def picture_file(model: str, prompt: str, seed: int) -> str:
    """Where a drawn picture lies in the report's folder."""
    return f"{model}/{prompt}-{seed}.png"


def sentence(evaluation: dict[str, Any], token: str) -> str:
    """Likeness and fidelity against the base in two sentences, directions only where the interval excludes 0."""
    metric = likeness_metric(evaluation)
    gain = find_metric(evaluation, metric, "difference")
    if gain.get("prompts", FEWEST) < FEWEST:
        return "The figures rest on one prompt: too few to compare the tuned model with the base."
    kind = "held-out" if metric == "identity_heldout" else "training"
    if _beyond_zero(gain) > 0:
        first = f"Asked for {token}, the tuned model draws pictures nearer to the {kind} photos than the base does"
    elif _beyond_zero(gain) < 0:
        first = f"Asked for {token}, the tuned model draws pictures farther from the {kind} photos than the base does"
    else:
        first = f"The figures show no clear difference between the tuned model and the base on the {kind} photos"
    between = f"{'95 % interval ' if has_interval(gain) else ''}{interval_words(gain, sign='+')}"
    first += f" ({gain['value']:+.4f}, {between})."
    text = find_metric(evaluation, "prompt_fidelity", "difference")
    how = {-1: "less closely", 0: "without a clear difference", 1: "more closely"}[_beyond_zero(text)]
    return f"{first} It follows the rest of the prompt {how} ({text['value']:+.4f})."


def _beyond_zero(row: dict[str, Any]) -> int:
    """1 where a known interval lies above 0, -1 where it lies below, else 0."""
    if not has_interval(row):
        return 0
    return int(row["low"] > 0) - int(row["high"] < 0)


def find_metric(evaluation: dict[str, Any], metric: str, model: str, group: str = "all") -> dict[str, Any]:
    """The one row of `evaluation.json` with that metric, model and group."""
    (row,) = (
        row for row in evaluation["metrics"] if (row["metric"], row["model"], row["group"]) == (metric, model, group)
    )
    return row
