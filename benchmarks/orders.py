"""Do pocket's encoder of likeness and the outside judge put planted checkpoints in one order?

    python -m benchmarks.orders --work FOLDER    # after `python -m benchmarks.planted train` and `judge` in FOLDER

Of each checkpoint of a toy, both judges say how near its pictures come to the photos that were held out, on the prompts
of the subject: pocket's encoder as the gates have it, the outside judge on pictures cropped to the subject. Printed
are, by toy, both figures of each fault, Spearman's correlation of both over all checkpoints, and the share of pairs of
checkpoints that both put in the same order.
"""

import argparse
import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import plants
from benchmarks.outside import OutsideJudge, crop_drawn, crop_prepared
from benchmarks.planted import drawn_case, evaluation_file, judged, judged_by
from benchmarks.pocket import rounded
from pipeline.environment import prepare_environment
from pipeline.evaluation.likeness import likeness_metric
from pipeline.layout import PREPARED


def by_encoder(evaluation: dict[str, Any]) -> float:
    """The mean likeness of a checkpoint's pictures of its subject, by the encoder that the gates ask."""
    name = likeness_metric(evaluation)
    rows = [row for row in evaluation["pictures"] if (row["model"], row["kind"]) == ("tuned", "subject")]
    return float(np.mean([row[name] for row in rows]))


def by_outside(judge: OutsideJudge, case: plants.Case, work: Path) -> float:
    """The same by the outside judge."""
    workspace, photos = judged_by(case, work)
    held = crop_prepared(workspace / PREPARED, [photo for photo in photos if photo.split == "heldout"])
    drawn = [item for item in drawn_case(case, work) if (item.model, item.kind) == ("tuned", "subject")]
    pictures = [crop_drawn(Image.open(item.path).convert("RGB")) for item in drawn]
    return float((judge.vectors(pictures) @ judge.vectors(held).T).mean())


def agreement(pairs: list[tuple[float, float]]) -> dict[str, float]:
    """Spearman's correlation of two figures, and the share of pairs of rows that both order alike."""
    first, second = np.array(pairs).T
    ranks = [column.argsort().argsort().astype(float) for column in (first, second)]
    alike = [
        np.sign(one[0] - other[0]) == np.sign(one[1] - other[1]) for one, other in combinations(np.array(pairs), 2)
    ]
    return {"spearman": float(np.corrcoef(*ranks)[0, 1]), "same_order": float(np.mean(alike))}


def compare(judge: OutsideJudge, work: Path) -> dict[str, Any]:
    """Both figures of every judged checkpoint, by toy and fault, and how far their orders agree."""
    found: dict[str, Any] = {}
    for toy in plants.TOYS:
        rows: dict[str, list[tuple[float, float]]] = {}
        for case in plants.cases():
            if case.toy == toy and evaluation_file(work, case).is_file():
                inside = by_encoder(judged(case, work))
                rows.setdefault(case.plant.name, []).append((inside, by_outside(judge, case, work)))
        if not rows:
            raise SystemExit(f"{work} holds no judged checkpoint of {toy}: run `benchmarks.planted train` and `judge`")
        faults = {
            name: dict(zip(("encoder", "outside"), np.mean(pairs, axis=0), strict=True)) for name, pairs in rows.items()
        }
        everything = [pair for pairs in rows.values() for pair in pairs]
        found[toy] = {"checkpoints": len(everything), "faults": faults, **agreement(everything)}
    return found


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="the folder of `benchmarks.planted`")
    arguments = parser.parse_args()
    prepare_environment()
    print(json.dumps(rounded(compare(OutsideJudge.load(), arguments.work.resolve())), indent=2))


if __name__ == "__main__":
    main()
