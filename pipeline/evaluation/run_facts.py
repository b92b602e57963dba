"""What a run did, as far as it bears on the faults of its model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.params import has_word, recorded_batch


@dataclass(frozen=True)
class RunFacts:
    """What a run did, as far as it bears on its faults.

    `trained` are the training photos, `masked` those of them that have a mask, `named_alone` those whose caption names
    the subject by its token alone; `places` in how many other places the subject of one with a mask was put, at most,
    and `shown` in how many views each picture. `step` is the selected one, `steps` the last; `batch` the photos in a
    step; `validation` the losses on held-out photos by step, in order; `candidates` the steps to choose from.
    """

    trained: int
    step: int
    steps: int
    batch: int
    candidates: int
    prior_images: int
    prior_weight: float
    plain_captions: float
    token_learned: bool
    start_from: str
    animal: str | None
    method: str
    validation: tuple[tuple[int, float], ...] = ()
    named_alone: int = 0
    masked: int = 0
    places: int = 0
    shown: int = 1

    @property
    def elsewhere(self) -> int:
        """In how many other places a photo with a mask was seen."""
        return self.places if self.masked else 0

    @property
    def views(self) -> int:
        """How often each training photo was seen, on average: in all places and views together.

        Those that could be put in no other place come again as often, so that all are as frequent.
        """
        return round(self.step * self.batch / max(1, self.trained))

    @property
    def views_as_it_is(self) -> int:
        """How often a photo that was put in other places was seen in its own, uncropped and not mirrored."""
        return round(self.step * self.batch / max(1, self.trained) / (1 + self.elsewhere) / self.shown)


def run_facts(lineage: dict[str, Any], selection: dict[str, Any], curve: Sequence[dict[str, float]]) -> RunFacts:
    """The facts of a model from its record, its selection and its curve (`steps.csv`); records may be of older
    versions.
    """
    params = lineage["params"]
    train, prior, subject, rows = params["train"], params["prior"], params["subject"], selection["candidates"]
    losses = [(int(row["step"]), float(row["validation_loss"])) for row in curve if "validation_loss" in row]
    photos = [photo for photo in lineage["photos"]["files"] if photo["split"] == "train"]
    named = f"{subject['token']} {subject['class_noun']}"
    augment = train.get("augment") or {}
    return RunFacts(
        trained=len(photos),
        step=int(selection["step"]),
        steps=int(lineage["training"]["steps"]),
        batch=recorded_batch(train),
        candidates=len(rows),
        prior_images=prior["images"],
        prior_weight=train["prior"]["weight"],
        plain_captions=train["plain_captions"],
        token_learned=train["token"]["learn"],
        start_from=train["token"]["start_from"],
        animal=subject["animal"],
        method=train["method"],
        validation=tuple(row for at, row in enumerate(losses) if at == 0 or row[1] != losses[at - 1][1]),
        named_alone=sum(not has_word(photo["caption"], named) for photo in photos),
        masked=sum(photo.get("mask") is not None for photo in photos),
        places=min(augment.get("places", 0), lineage["prior"].get("places", 0)),
        shown=augment.get("views", 1) * (2 if train.get("flip") else 1),
    )
