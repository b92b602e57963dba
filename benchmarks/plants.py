"""Checkpoints of the embedded base whose fault is known by construction, trained from several seeds.

Every one of them differs from the good recipe (the profile `pocket`, in bf16 with plain AdamW) in what makes the fault,
and in nothing else.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.base.resolve import ResolvedBase, resolve_base
from pipeline.files import read_json
from pipeline.layout import PRIOR, PRIOR_INDEX
from pipeline.params import Params, Subject, Train, load_params
from pipeline.photos.manifest import Photo, read_manifest
from pipeline.photos.prepare import prepare_photos
from pipeline.runs.profiles import find_profile

TOKEN = "mysks"  # both toys answer to it, so that one can be swapped for the other
TOYS = {
    "mysks": {"start_from": "striped brown pig", "animal": "wild boar"},
    "tarlo": {"start_from": "spotted orange turtle", "animal": "turtle"},
}
OTHER = {"mysks": "tarlo", "tarlo": "mysks"}
CALIBRATION, REPORT = (101,), (1, 2, 3)


@dataclass(frozen=True)
class Plant:
    """A fault and how it is made: changes to the section `train`, photos kept (None: all), class images or none."""

    name: str
    made_by: str
    changes: dict[str, Any] = field(default_factory=dict)
    photos: int | None = None
    prior: bool = True
    bare_captions: bool = False
    trained_on: str = "itself"
    own: tuple[str, ...] = ()  # the gates that were built for this fault: each of them must fire


GOOD: dict[str, Any] = {"precision": "bf16", "optimizer": "adamw", "validate_every": 0, "log_every": 50}
NO_TOKEN = {"learn": False}
PLANTS = {
    plant.name: plant
    for plant in (
        Plant("untouched base", "no training at all", trained_on="nothing", own=("likeness", "success")),
        Plant("good", "the profile `pocket`, with `precision: bf16` and `optimizer: adamw`"),
        Plant(
            "memorised",
            "1,600 steps on two photos, without class images, shortened captions and other places, a constant rate",
            {"steps": 1600, "batch": 2, "plain_captions": 0.0, "augment": {"places": 0}, "schedule": "constant"},
            photos=2,
            prior=False,
            own=("copies",),
        ),
        Plant(
            "forgotten",
            "five times the learning rate, without class images",
            {"learning_rate": 1e-3},
            prior=False,
            own=("class_likeness",),
        ),
        Plant(
            "style-blind",
            "captions that are nothing but the name, without class images, a constant learning rate of 5e-4",
            {"plain_captions": 0.0, "learning_rate": 5e-4, "schedule": "constant"},
            prior=False,
            bare_captions=True,
            own=("style",),
        ),
        Plant("unstable", "the token is not learned, 60 steps", {"steps": 60, "token": NO_TOKEN}, own=("success",)),
        Plant("swapped", "the good recipe on the photos of the other toy", trained_on="the other", own=("likeness",)),
    )
}


@dataclass(frozen=True)
class Case:
    """One checkpoint to judge: the fault, the subject whose photos it is judged by, and the training seed."""

    plant: Plant
    toy: str
    seed: int

    @property
    def trained(self) -> tuple[str, str, int] | None:
        """Recipe, toy and seed of the training behind it; None where there is none. Swapped cases share others'."""
        if self.plant.trained_on == "nothing":
            return None
        if self.plant.trained_on == "the other":
            return "good", OTHER[self.toy], self.seed
        return self.plant.name, self.toy, self.seed

    def model(self, work: Path) -> Path | None:
        """The pipeline folder of the checkpoint; None: the base itself."""
        if self.trained is None:
            return None
        recipe, toy, seed = self.trained
        return work / "models" / f"{recipe}-{toy}-{seed}"


def cases() -> Iterator[Case]:
    """All cases: faults are calibrated on the first toy, likeness on both; reported are both, with other seeds."""
    for seed in (*CALIBRATION, *REPORT):
        for plant in PLANTS.values():
            for toy in TOYS:
                if seed in REPORT or toy == "mysks" or plant.name in ("good", "swapped"):
                    yield Case(plant, toy, seed)


def params_of(toy: str, seed: int, plant: Plant = PLANTS["good"]) -> Params:
    """The profile `pocket` for a toy, with the training of a plant."""
    params = load_params(find_profile("pocket").path)
    subject = Subject.model_validate(
        {**params.subject.model_dump(), "name": toy, "token": TOKEN, "animal": TOYS[toy]["animal"]}
    )
    train = params.train.model_dump()
    train["token"]["start_from"] = TOYS[toy]["start_from"]
    changes = {**GOOD, **plant.changes, "seed": seed}
    parts = {part: {**train[part], **changes.pop(part, {})} for part in ("token", "augment")}
    trained = Train.model_validate({**train, **changes, **parts})
    return params.model_copy(update={"subject": subject, "train": trained})


def prepare(toy: str, work: Path) -> list[Photo]:
    """Photos of a toy rendered and prepared, captions with the common token, in `work/prepared/<toy>`."""
    import json

    from examples.make import render

    source, out = work / "photos" / toy, work / "prepared" / toy
    if not (out / "manifest.jsonl").is_file():
        render(toy, source)
        lines = (source / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        for row in rows:
            row["text"] = row["text"].replace(toy, TOKEN)
        (source / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        params = params_of(toy, 0)
        prepare_photos(source, out, params.prepare, params.subject, resolve_base(params.base).size)
    return read_manifest(out / "manifest.jsonl")


def train_case(case: Case, work: Path) -> None:
    """Train what the case needs, unless it is there; a killed training goes on from its checkpoint."""
    from pipeline.stages.train import put_in_places
    from pipeline.training.data import Sample
    from pipeline.training.job import Job
    from pipeline.training.training_loop import train

    model = case.model(work)
    if case.trained is None or model is None or (model / "model_index.json").is_file():
        return
    recipe, toy, seed = case.trained
    plant = PLANTS[recipe]
    params = params_of(toy, seed, plant)
    base: ResolvedBase = resolve_base(params.base)
    folder = work / "prepared" / toy
    photos = [photo for photo in read_manifest(folder / "manifest.jsonl") if photo.split == "train"]
    samples = [
        Sample(folder / photo.file, photo.caption, folder / photo.mask if photo.mask else None)
        for photo in photos[: plant.photos]
    ]
    prior = read_json(work / PRIOR_INDEX)
    samples += put_in_places(work, params, samples, prior)
    if plant.bare_captions:
        name = f"{TOKEN} {params.subject.class_noun}"
        samples = [replace(sample, caption=name) for sample in samples]
    images = prior["images"] if plant.prior else []
    train(
        Job(
            base=base.folder,
            variant=base.variant,
            photos=samples,
            class_images=[Sample(work / PRIOR / image["file"], image["prompt"]) for image in images],
            token=TOKEN,
            class_noun=params.subject.class_noun,
            params=params.train,
            checkpoints=work / "checkpoints" / model.name,
            model=model,
        )
    )
