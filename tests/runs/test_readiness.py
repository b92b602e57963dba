"""What `dreamtrace check` finds before a run."""

import json
import math
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from pipeline.evaluation.reasons import NO_SHAPES
from pipeline.files import write_json
from pipeline.layout import LINEAGE, TRAINED_MODEL, TRAINING
from pipeline.params import Augment, load_params
from pipeline.photos.target import Target
from pipeline.runs import readiness
from pipeline.runs.profiles import FOLDER
from pipeline.runs.readiness import Readiness, _unseen_masks, check_readiness
from pipeline.runs.readiness_page import page_of
from pipeline.training.estimate import estimate_memory
from pipeline.training.memory import ERROR, MemoryVerdict
from tests import tiny
from tests.commands.test_app import dreamtrace


@pytest.fixture
def quick(monkeypatch) -> Iterator[None]:
    """Without the estimate of memory, which takes seconds."""
    monkeypatch.setattr(readiness, "_look_at_memory", lambda *_: None)
    return None


def found_in(workspace: Path) -> Readiness:
    return check_readiness(workspace, lambda _: None, thumbnails=True)


def test_a_workspace_that_is_ready(project: Callable[..., Path]) -> None:
    workspace = project(photos=8, prepare={"heldout": 2})
    found = found_in(workspace)
    assert found.problems == []
    assert found.facts["photos"] == "8: 6 to train on, 2 held out, 8 scenes"
    assert re.match(r"about \d+\.\d MB for the training", found.facts["memory"])
    assert found.facts["training"] == "dreambooth, 4 steps of 2 photos, each photo about once"
    assert found.facts["download"] == "nothing"
    assert found.facts["time"].startswith("unknown: nothing was trained in this workspace yet; ")
    assert [photo.split for photo in found.survey.photos].count("heldout") == 2
    page = page_of(found)
    assert page.count("data:image/jpeg;base64,") == 8 and "http" not in page
    assert "A run can begin" in page


@pytest.mark.usefixtures("quick")
def test_all_problems_stand_in_one_list(project: Callable[..., Path], values: dict[str, Any]) -> None:
    workspace = project(prepare={"heldout": 9}, sample={"suite": "nosuch"})
    (workspace / "data" / "photo1.jpg").write_bytes(b"broken")
    (workspace / "data" / "photo2.jpg").write_bytes((workspace / "data" / "photo3.jpg").read_bytes())
    found = found_in(workspace)
    assert len(found.problems) == 4
    assert [sum(words in line for line in found.problems) for words in ("heldout", "nosuch", "photo1", "photo3")] == [
        1
    ] * 4
    assert "4 problems" in page_of(found)
    (workspace / "params.yaml").write_text(yaml.safe_dump({**values, "extra": 1}))
    assert found_in(workspace).problems[0].startswith(f"{workspace}/params.yaml has 1 problem")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, True),
        ({"background_weight": 0.5}, False),
        ({"augment": Augment(places=2)}, False),
        ({"augment": Augment(views=2, crop=0.1)}, False),
        ({"augment": Augment(views=2, colour=0.1)}, True),
    ],
    ids=str,
)
def test_masks_that_the_training_does_not_look_at_are_told(changes: dict[str, Any], told: bool) -> None:
    params = load_params(FOLDER / "thesis.yaml")
    params = params.model_copy(update={"train": params.train.model_copy(update=changes)})
    assert (_unseen_masks(params, 2) is not None) == told
    assert _unseen_masks(params, 0) is None


@pytest.mark.usefixtures("quick")
def test_shapes_that_no_photo_has_are_told_before_the_run(project: Callable[..., Path], tmp_path: Path) -> None:
    found = found_in(project(photos=8, sample={"control": {"kind": "edges", "adapter": str(tmp_path / "adapter")}}))
    told = [line for line in found.warnings if NO_SHAPES in line]
    assert told == [f"sample.control: {NO_SHAPES}: nothing is measured; draw masks, or set it to null"]


@pytest.mark.usefixtures("quick")
def test_a_split_that_two_checks_refuse_is_one_problem(project: Callable[..., Path]) -> None:
    assert len(found_in(project(prepare={"heldout": 3})).problems) == 1


@pytest.mark.usefixtures("quick")
def test_a_full_disk_and_a_base_that_is_not_there_are_problems(project: Callable[..., Path], monkeypatch) -> None:
    workspace = project()
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 10**12, 1000))
        assert "the run needs about" in found_in(workspace).problems[0]
    found = found_in(project(base={"model": "./nowhere"}))
    assert any("no such folder" in problem for problem in found.problems)
    assert found.survey.photos  # the photos are looked at nevertheless


@pytest.mark.usefixtures("quick")
def test_a_base_that_cannot_be_fetched_is_a_problem(project: Callable[..., Path], monkeypatch) -> None:
    away = "base.model 'a/b' is not in the local cache and the hub cannot be reached"
    monkeypatch.setattr(readiness, "target_of", lambda _: Target(32, 8, None, away))
    found = found_in(project())
    assert found.problems == [away]
    assert len(found.survey.photos) == 5


def peaks(workspace: Path) -> list[int]:
    """Bytes that the training of a workspace takes, as it is and with one photo at a time."""
    params = load_params(workspace / "params.yaml")
    alone = params.train.model_copy(update={"batch": 1})
    base, classes = Path(params.base.model), params.prior.images > 0
    whole = estimate_memory(base, params.train, 32, classes, "mysks", 1, params.preview)
    return [whole.peak, estimate_memory(base, alone, 32, classes, "mysks").peak]


def test_what_the_trainer_would_refuse_is_a_problem_and_what_it_does_with_less_is_a_warning(
    project: Callable[..., Path], monkeypatch
) -> None:
    workspace = project(train={"batch": 8}, prepare={"heldout": 1})
    whole, least = peaks(workspace)
    assert least < whole

    def found_with(free: int) -> tuple[list[str], list[str]]:
        monkeypatch.setattr(readiness, "_memory", lambda: (free, "that are free on it", True))
        found = found_in(workspace)
        assert "that are free on it" in found.facts["memory"]
        return [*found.problems], [line for line in found.warnings if "memory" in line]

    assert found_with(whole) == ([], [])
    for free in (whole - 1, int((1 - ERROR) * least) + 1):
        problems, (warning,) = found_with(free)
        assert problems == [] and "smaller micro-batches will be tried" in warning
    (problem,), warnings = found_with(int((1 - ERROR) * least) - 1)
    assert "with one photo at a time" in problem and warnings == []


def test_memory_is_that_of_the_photos_as_they_are_split_and_cut(project: Callable[..., Path], monkeypatch) -> None:
    asked = []

    def judge(base, train, side, classes, token, heldout, *_) -> MemoryVerdict:
        asked.append((side, heldout))
        return MemoryVerdict(1)

    monkeypatch.setattr("pipeline.training.memory.judge_memory", judge)
    always = [f"photo{number}.jpg" for number in range(3)]
    workspace = project(photos=8, prepare={"heldout": 1, "always_heldout": always, "crop": "bucket"})
    tiny.picture(20, 400, 64).save(workspace / "data" / "wide.jpg")
    found = found_in(workspace)
    wide = found.survey.prepared["wide.jpg"][0]
    assert wide.width > wide.height
    largest = max(one.width * one.height for one, _ in found.survey.prepared.values())
    assert asked == [(math.ceil(largest**0.5), 3)]


def test_little_memory_beside_a_cpu_stops_no_run(project: Callable[..., Path], monkeypatch) -> None:
    monkeypatch.setattr(readiness, "_memory", lambda: (1000, "on this machine", False))
    found = found_in(project(preview={"every": 0}))
    assert found.problems == [] and any("lower train.batch" in warning for warning in found.warnings)
    draw = {"steps": 1, "guidance": 2.0, "scheduler": "ddim", "batch": 500}
    found = found_in(project(preview={"every": 1, "prompts": ["a photo of mysks"] * 500, "draw": draw}))
    assert found.problems == [] and any("lower preview.draw.batch" in warning for warning in found.warnings)


def test_memory_is_that_of_the_device_that_trains(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a GPU")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (5, 10))
    assert readiness._memory() == (5, "that are free on a GPU", True)
    monkeypatch.setenv("DREAMTRACE_DEVICE", "cpu")
    assert readiness._memory()[1:] == ("on this machine, which trains on its CPU", False)


@pytest.mark.usefixtures("quick")
def test_photos_are_counted_in_all_processes(project: Callable[..., Path]) -> None:
    train = {"steps": 30, "batch": 2, "gradient_accumulation": 2, "processes": 3}
    workspace = project(photos=7, prepare={"heldout": 1}, train=train)
    assert found_in(workspace).facts["training"] == "dreambooth, 30 steps of 12 photos, each photo about 60 times"


OTHER_KINDS: list[dict[str, Any]] = [
    {"train": {"batch": 7}},
    {"train": {"processes": 2}},
    {"train": {"gradient_checkpointing": True}},
    {"train": {"optimizer": "adafactor"}},
    {"train": {"text_encoder": {"learn": True, "learning_rate": 1e-5}}},
    {"train": {"prior": {"kind": "images", "weight": 1.0}}},
    {"prepare": {"size": 64}},
    {"prior": {"images": 0}},
]


@pytest.mark.usefixtures("quick")
def test_time_is_told_only_from_a_training_of_the_same_kind(
    project: Callable[..., Path], values: dict[str, Any]
) -> None:
    workspace = project(train={"steps": 100})
    write_json(workspace / TRAINING, {"steps": 50, "resumed_from": 10, "seconds": 240.0, "device": "cpu"})
    write_json(workspace / TRAINED_MODEL / LINEAGE, {"params": values})
    assert found_in(workspace).facts["time"].startswith("about 10 min")  # 6 s a step
    same = {**values, "prior": {**values["prior"], "images": values["prior"]["images"] + 1}}
    write_json(workspace / TRAINED_MODEL / LINEAGE, {"params": same})
    assert found_in(workspace).facts["time"].startswith("about 10 min")
    for changes in OTHER_KINDS:
        ((section, change),) = changes.items()
        other = {**values, section: {**values[section], **change}}
        assert other != values
        write_json(workspace / TRAINED_MODEL / LINEAGE, {"params": other})
        assert "of another kind" in found_in(workspace).facts["time"], changes


@pytest.mark.usefixtures("quick")
def test_the_command_tells_the_same_as_text_json_and_page(project: Callable[..., Path], monkeypatch, capsys) -> None:
    workspace = project()
    tiny.picture(1, 20, 20).save(workspace / "data" / "small.png")
    assert dreamtrace(monkeypatch, "check", "--html", "look/check.html") == 1
    said = capsys.readouterr().out
    assert "PROBLEM  data: small.png: is 20x20" in said and "1 problem: a run would stop" in said
    assert "small.png" in (workspace / "look" / "check.html").read_text()
    (workspace / "data" / "small.png").unlink()
    assert dreamtrace(monkeypatch, "check", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ready"] is True and told["problems"] == [] and len(told["photos"]) == 5
    assert told["photos"][0]["caption"] == "a photo of mysks plush toy, 0"
