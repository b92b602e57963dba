"""Checkpoints of the embedded base whose fault is known by construction, trained from several seeds.

Every one of them differs from the good recipe (the profile `pocket`, in bf16) in what makes the fault, and in nothing
else.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from benchmarks import stages
from pipeline.base.resolve import resolve_base
from pipeline.files import digest_value, read_jsonl, whole_folder, write_jsonl, write_text
from pipeline.layout import DATA, MANIFEST, MODEL, PARAMS, PRIOR
from pipeline.params import Params, dump_params, load_params
from pipeline.runs.profiles import find_profile

TOKEN = "mysks"  # both toys answer to it, so that one can be swapped for the other
TOYS = {
    "mysks": {"start_from": "striped brown pig", "animal": "wild boar"},
    "tarlo": {"start_from": "spotted orange turtle", "animal": "turtle"},
}
DECIDING = ("subject", "prepare", "prior", "train")  # sections of params.yaml that decide the weights
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


def constant(rate: float) -> dict[str, Any]:
    """A rate below the profile's: at that, a few photos without class images leave a model that draws nothing."""
    return {"learning_rate": rate, "schedule": "constant"}


GOOD: dict[str, Any] = {"precision": "bf16", "validate_every": 0, "log_every": 50}
NO_TOKEN = {"learn": False}
PLANTS = {
    plant.name: plant
    for plant in (
        Plant("untouched base", "no training at all", trained_on="nothing", own=("likeness", "success")),
        Plant("good", "the profile `pocket`, with `precision: bf16`"),
        Plant(
            "memorised",
            "1,600 steps at a constant rate of 4e-4 on two photos, without class images, shortened captions and other "
            "places",
            {**constant(4e-4), "steps": 1600, "batch": 2, "plain_captions": 0.0, "augment": {"places": 0}},
            photos=2,
            prior=False,
            own=("copies",),
        ),
        Plant(
            "forgotten",
            "three times the learning rate, without class images",
            {"learning_rate": 4.5e-3},
            prior=False,
            own=("class_likeness",),
        ),
        Plant(
            "style-blind",
            "captions that are nothing but the name, without class images and other places, a constant rate of 1e-3",
            {**constant(1e-3), "plain_captions": 0.0, "augment": {"places": 0}},
            prior=False,
            bare_captions=True,
            own=("style",),
        ),
        Plant("unstable", "the token is not learned, 10 steps", {"steps": 10, "token": NO_TOKEN}, own=("success",)),
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
    def name(self) -> str:
        """'good-mysks-1'."""
        return f"{self.plant.name}-{self.toy}-{self.seed}".replace(" ", "-")

    @property
    def params(self) -> Params:
        """What its checkpoint is trained with, where it is not another case's."""
        return params_of(self.toy, self.seed, self.plant)

    @property
    def trained(self) -> "Case | None":
        """The case whose training this one judges; None where there is none. Swapped cases share others'."""
        if self.plant.trained_on == "nothing":
            return None
        if self.plant.trained_on == "the other":
            return Case(PLANTS["good"], OTHER[self.toy], self.seed)
        return self


def cases() -> Iterator[Case]:
    """All cases: faults are calibrated on the first toy, likeness on both; reported are both, with other seeds."""
    for seed in (*CALIBRATION, *REPORT):
        for plant in PLANTS.values():
            for toy in TOYS:
                if seed in REPORT or toy == "mysks" or plant.name in ("good", "swapped"):
                    yield Case(plant, toy, seed)


def params_of(toy: str, seed: int, plant: Plant = PLANTS["good"]) -> Params:
    """The profile `pocket` for a toy, with the training of a plant; pictures are drawn in the training's precision.

    Of a faulty plant no candidates are kept: nothing is to choose an earlier one, in which the fault is less.
    """
    values = dump_params(load_params(find_profile("pocket").path))
    values["subject"] |= {"name": toy, "token": TOKEN, "animal": TOYS[toy]["animal"]}
    train = values["train"]
    train["token"]["start_from"] = TOYS[toy]["start_from"]
    train |= {**GOOD, "seed": seed}
    if plant.name != "good":
        train["save_every"] = 0
    if not plant.prior:
        values["prior"]["images"] = 0
        train["prior"]["weight"] = 0.0
    for name, change in plant.changes.items():
        train[name] = {**train[name], **change} if isinstance(change, dict) else change
    for stage in ("select", "sample"):
        values[stage]["draw"]["precision"] = GOOD["precision"]
    return Params.model_validate(values)


def photos_of(toy: str, work: Path) -> Path:
    """Photos of a toy, with the common token in their captions, rendered where they are missing.

    Several processes may ask at once: one renders, the others wait.
    """
    from examples.make import render

    source = work / "photos" / toy
    source.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(source.with_suffix(".lock")):
        if not source.is_dir():
            begun = source.with_suffix(".part")  # goes on after a kill
            render(toy, begun)
            rows = read_jsonl(begun / "metadata.jsonl")
            write_jsonl(begun / "metadata.jsonl", [{**row, "text": row["text"].replace(toy, TOKEN)} for row in rows])
            begun.rename(source)
    return source


def trained(case: Case, work: Path) -> Path:
    """The workspace of a case's training, whose stages have run up to `select`: what is missing is made.

    A killed training goes on. The class images of one setting are drawn once for all workspaces.

    Raises:
        SystemExit: the workspace holds a model of other parameters or of another base.
    """
    workspace, params = work / case.name, case.params
    if (workspace / MODEL).is_dir():
        refuse_other(case, workspace / MODEL)
        return workspace
    shutil.copytree(photos_of(case.toy, work), workspace / DATA, dirs_exist_ok=True)
    write_text(workspace / PARAMS, yaml.safe_dump(dump_params(params), sort_keys=False))
    stages.run_stage(workspace, "inputs")
    stages.run_stage(workspace, "prepare")
    write_jsonl(workspace / MANIFEST, _spoiled(read_jsonl(workspace / MANIFEST), case.plant, params))
    wants_places = params.train.augment.places > 0  # `prior` draws none where they are not wanted
    drawn = digest_value([resolve_base(params.base).digest, params.prior.model_dump(mode="json"), wants_places])[:16]
    class_images = work / "class images" / drawn
    class_images.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(class_images.with_suffix(".lock")):
        if not class_images.is_dir():
            stages.run_stage(workspace, "prior")
            with whole_folder(class_images) as fresh:
                shutil.copytree(workspace / PRIOR, fresh, dirs_exist_ok=True)
    shutil.copytree(class_images, workspace / PRIOR, dirs_exist_ok=True)
    for stage in ("train", "select"):
        stages.run_stage(workspace, stage)
    print(f"{case.name} is trained", flush=True)
    return workspace


def _spoiled(rows: list[dict[str, Any]], plant: Plant, params: Params) -> list[dict[str, Any]]:
    """The lines of a manifest of which a plant leaves the first photos to train on, or nothing of their captions."""
    train = [row for row in rows if row["split"] == "train"]
    kept = [row for row in rows if row not in train[plant.photos :]] if plant.photos is not None else rows
    name = f"{TOKEN} {params.subject.class_noun}"
    return [{**row, "caption": name} for row in kept] if plant.bare_captions else kept


def refuse_other(case: Case, model: Path) -> None:
    """Refuse a model that was trained with other parameters than a case says today, or from another base.

    Raises:
        SystemExit: it was.
    """
    params = dump_params(case.params)
    stages.refuse_other(model, case.params.base.model, {name: params[name] for name in DECIDING})
