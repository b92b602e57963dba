"""Do pocket's encoder of likeness and the outside judge put planted checkpoints in one order?

    python -m benchmarks.orders --work FOLDER    # after `python -m benchmarks.planted train` and `judge` in FOLDER

Of each checkpoint of a toy, both judges say how near its pictures come to the photos that were held out, on the prompts
of the subject: pocket's encoder as the gates have it, the outside judge on pictures cropped to the subject. All prompts
are counted, and those that ask for a photo: the outside judge knows photos, and finds a toy in pixel art far from them
however well it is drawn, so that a model which ignores the style looks better to it.

Printed are, by toy, both figures of each fault, Spearman's correlation over all checkpoints, and of the pairs of
checkpoints that the outside judge tells apart (the 95 % interval of the difference, prompt by prompt and seed by seed,
excludes 0) the share that the encoder puts in the same order, and the pairs that it tells apart the other way round.
"""

import argparse
import json
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import plants
from benchmarks.outside import OutsideJudge, crop_drawn, crop_prepared, mean_cosine
from benchmarks.planted import drawn_case, evaluation_file, judged, judged_by
from benchmarks.pocket import rounded
from pipeline.environment import prepare_environment
from pipeline.evaluation.likeness import likeness_metric
from pipeline.evaluation.statistics import Z, paired_gap
from pipeline.layout import PREPARED

DRAWS = 1000  # of the bootstrap
OTHER_MEDIUM = "style"  # the group of the prompts that ask for no photo


@dataclass(frozen=True)
class Nearness:
    """How near a checkpoint's pictures come to the held-out photos by both judges, float64 [prompts, seeds] each."""

    name: str
    fault: str
    encoder: np.ndarray
    outside: np.ndarray

    def of(self, rows: np.ndarray) -> "Nearness":
        """The same on some prompts; `rows` is bool [prompts]."""
        return Nearness(self.name, self.fault, self.encoder[rows], self.outside[rows])


def nearness(judge: OutsideJudge, case: plants.Case, work: Path) -> tuple[Nearness, np.ndarray]:
    """A judged checkpoint by both judges, and which of its prompts ask for a photo, bool [prompts]."""
    evaluation = judged(case, work)
    workspace, photos = judged_by(case, work)
    held = judge.vectors(crop_prepared(workspace / PREPARED, [photo for photo in photos if photo.split == "heldout"]))
    drawn = [item for item in drawn_case(case, work) if (item.model, item.kind) == ("tuned", "subject")]
    pictures = [crop_drawn(Image.open(item.path).convert("RGB")) for item in drawn]
    outside = dict(
        zip([(item.prompt_id, item.seed) for item in drawn], mean_cosine(judge.vectors(pictures), held), strict=True)
    )
    name = likeness_metric(evaluation)
    rows = [row for row in evaluation["pictures"] if (row["model"], row["kind"]) == ("tuned", "subject")]
    encoder = {(row["prompt_id"], row["seed"]): row[name] for row in rows}
    groups = {row["prompt_id"]: row["group"] for row in rows}
    seeds = sorted({seed for _, seed in encoder})
    tables = [np.array([[by[prompt, seed] for seed in seeds] for prompt in groups]) for by in (encoder, outside)]
    photo = np.array([group != OTHER_MEDIUM for group in groups.values()])
    return Nearness(case.name, case.plant.name, *tables), photo


def agreement(checkpoints: list[Nearness]) -> dict[str, Any]:
    """Spearman's correlation of both figures of two checkpoints or more, and what the encoder says of the pairs that
    the outside judge tells apart: their number, the share in the same order (None where there are none), and the pairs
    that the encoder tells apart the other way round.
    """
    means = np.array([(one.encoder.mean(), one.outside.mean()) for one in checkpoints])
    ranks = [column.argsort().argsort().astype(float) for column in means.T]
    apart, alike, against = 0, 0, []
    for one, other in combinations(checkpoints, 2):
        if outside := told_apart(one.outside, other.outside):
            apart += 1
            alike += np.sign(one.encoder.mean() - other.encoder.mean()) == outside
            against += [f"{one.name}, {other.name}"] if told_apart(one.encoder, other.encoder) == -outside else []
    return {
        "spearman": float(np.corrcoef(*ranks)[0, 1]),
        "pairs_told_apart": apart,
        "same_order": alike / apart if apart else None,
        "against": against,
    }


def told_apart(one: np.ndarray, other: np.ndarray) -> int:
    """1 where scores [prompts, seeds] are surely higher than others of the same prompts, -1 where lower, else 0."""
    gap, error = paired_gap(one, other, DRAWS, 1)
    return int(np.sign(gap)) if abs(gap) > Z * error else 0


def compare(judge: OutsideJudge, work: Path) -> dict[str, Any]:
    """Both figures of every judged checkpoint, by toy and fault, and how far their orders agree."""
    found: dict[str, Any] = {}
    for toy in plants.TOYS:
        cases = [case for case in plants.cases() if case.toy == toy and evaluation_file(work, case).is_file()]
        if len(cases) < 2:
            raise SystemExit(f"{work} holds fewer than two judged checkpoints of {toy}: run `benchmarks.planted`")
        everything, photos = zip(*[nearness(judge, case, work) for case in cases], strict=True)
        found[toy] = {
            "checkpoints": len(cases),
            "all prompts": figures(list(everything)),
            "prompts for photos": figures([one.of(photo) for one, photo in zip(everything, photos, strict=True)]),
        }
    return found


def figures(checkpoints: list[Nearness]) -> dict[str, Any]:
    """`agreement` of some checkpoints, and the means of each fault."""
    faults: dict[str, dict[str, float]] = {}
    for fault in dict.fromkeys(one.fault for one in checkpoints):
        same = [one for one in checkpoints if one.fault == fault]
        faults[fault] = {
            "encoder": float(np.mean([one.encoder.mean() for one in same])),
            "outside": float(np.mean([one.outside.mean() for one in same])),
        }
    return {"faults": faults, **agreement(checkpoints)}


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="the folder of `benchmarks.planted`")
    arguments = parser.parse_args()
    prepare_environment()
    print(json.dumps(rounded(compare(OutsideJudge.load(), arguments.work.resolve())), indent=2))


if __name__ == "__main__":
    main()
