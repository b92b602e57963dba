"""The end of the stage `train`, cut off at any point; and what its checkpoints are known by."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import torch
import yaml
from PIL import Image

from pipeline import files
from pipeline.files import digest_file, read_json, write_json
from pipeline.layout import (
    CANDIDATES,
    DVC_LOCK,
    MANIFEST,
    MODEL,
    PARAMS,
    PREPARED,
    PRIOR_INDEX,
    RUN,
    TRAINED,
    TRAINED_MODEL,
    TRAINING,
)
from pipeline.lineage import record
from pipeline.lineage.read import read_lineage
from pipeline.params import load_params, parse_params
from pipeline.photos.manifest import read_manifest
from pipeline.runs.costs import time_sentence
from pipeline.sampling.source import Source
from pipeline.stages import prepare, prior, select, train
from pipeline.stages.train import finish, inputs_digest
from pipeline.training.checkpoint import Checkpoint, load_newest, save_checkpoint
from pipeline.training.finished import CHECKPOINTS, remove_taken_in
from pipeline.training.job import Job
from pipeline.training.steps import Stepper

CHANGES = ("rename", "replace", "link", "unlink", "remove", "rmdir", "mkdir", "fsync")  # what a file system does


class Killed(BaseException):
    """The process is gone."""


def die_before(number: int, patch: pytest.MonkeyPatch) -> None:
    """Let the process be gone before the change `number` (from 0) of the disk: no later one happens either."""
    left = [number]

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if left[0] <= 0:
                raise Killed
            left[0] -= 1
            return real(*arguments, **options)

        return call

    for name in CHANGES:
        patch.setattr(os, name, counted(getattr(os, name)))
    patch.setattr(files, "_exchange", counted(files._exchange))


def digests(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): digest_file(path) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def done(tmp_path: Path, values: dict[str, Any]) -> Job:
    """A job of 4 steps that has trained: the newest two checkpoints, and a candidate of each step."""
    folder = tmp_path / "done"
    for step in (1, 2, 3, 4):
        weights = {"unet": {"w": torch.full((2,), float(step))}, "optimizer": {"0.m": torch.ones(2)}}
        save_checkpoint(folder, Checkpoint(step, weights, {"rows": []}))
        made = folder / "candidates" / f"step-{step:08d}"
        made.mkdir(parents=True)
        (made / "unet.safetensors").write_text(f"step {step}")
    (folder / "run.json").write_text("{}")
    params = parse_params(values, "params.yaml").train.model_copy(update={"steps": 4})
    return Job(Path("base"), None, [], [], "mysks", "toy", params, folder, Path("model"))


def is_kept(workspace: Path) -> bool:
    """Whether the candidates of the steps before the last are there, whole."""
    folder = workspace / CANDIDATES
    if not (folder / "candidates.json").is_file():
        return False
    listed = [one["folder"] for one in read_json(folder / "candidates.json")["candidates"]]
    whole = all((folder / name / "unet.safetensors").read_text().endswith(str(int(name[5:]))) for name in listed)
    return listed == ["step-00000001", "step-00000002", "step-00000003"] and whole


def is_resumable(job: Job) -> bool:
    """Whether a run with the same inputs finds the weights of the last step, all candidates, and its MLflow run."""
    found = load_newest(job.checkpoints)
    at_end = found is not None and found.step == 4 and found.tensors["unet"]["w"].tolist() == [4, 4]
    candidates = [path.read_text() for path in sorted(job.candidates.glob("*/unet.safetensors"))]
    return (
        at_end and candidates == [f"step {step}" for step in (1, 2, 3, 4)] and (job.checkpoints / "run.json").is_file()
    )


@pytest.mark.parametrize("before", [False, True], ids=["first run", "again"])
def test_cut_off_at_any_point_and_at_its_end_a_finished_training_needs_no_step_again(
    tmp_path: Path, done: Job, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    number, alive = 0, True
    while alive:
        workspace = tmp_path / str(number)
        job = replace(done, checkpoints=workspace / CHECKPOINTS / "inputs")
        shutil.copytree(done.checkpoints, job.checkpoints)
        if before:
            (workspace / CANDIDATES / "step-00000009").mkdir(parents=True)
        with monkeypatch.context() as patch:
            die_before(number, patch)
            try:
                finish(workspace, job, {"run_id": "x"})
            except Killed:
                alive = True
            else:
                alive = False
        assert is_resumable(job), number
        assert not (workspace / RUN).exists() or is_kept(workspace), number
        shutil.rmtree(workspace / "artifacts", ignore_errors=True)  # the same command again; DVC removes results
        finish(workspace, job, {"run_id": "x"})
        assert is_kept(workspace) and is_resumable(job)
        assert [path.name for path in job.checkpoints.glob("step-*")] == ["step-00000004"]
        number += 1
    assert number > 20


def test_an_ended_training_goes_when_dvc_names_its_results_or_when_the_next_one_ends(tmp_path: Path, done: Job) -> None:
    first, second = (replace(done, checkpoints=tmp_path / CHECKPOINTS / name) for name in ("first", "second"))
    for job in (first, second):
        shutil.copytree(done.checkpoints, job.checkpoints)
    finish(tmp_path, first, {"run_id": "x"})
    remove_taken_in(tmp_path)
    lock(tmp_path, "of another run")
    remove_taken_in(tmp_path)
    assert is_resumable(first)
    finish(tmp_path, second, {"run_id": "y"})
    assert not first.checkpoints.exists()
    unfinished = tmp_path / CHECKPOINTS / "unfinished"
    shutil.copytree(done.checkpoints, unfinished)
    lock(tmp_path, digest_file(tmp_path / RUN, "md5"))
    remove_taken_in(tmp_path)
    assert list((tmp_path / CHECKPOINTS).iterdir()) == [unfinished]


def lock(workspace: Path, md5: str) -> None:
    """Let dvc.lock name a `run.json`."""
    outs = [{"path": RUN.as_posix(), "md5": md5}]
    (workspace / DVC_LOCK).write_text(yaml.safe_dump({"stages": {"train": {"outs": outs}}}))


def test_results_that_dvc_did_not_take_in_are_written_again_without_a_step(
    project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = project(photos=5, train={"steps": 2, "save_every": 1, "ema": 0.9})
    params = load_params(PARAMS)
    for stage in (prepare, prior, train):
        stage.run(workspace, params)
    results = {name: digest for name, digest in digests(workspace / TRAINED).items() if name != TRAINING.name}
    assert len(results) > 10
    remaining, took = workspace / CHECKPOINTS / read_json(workspace / RUN)["inputs"], read_json(workspace / TRAINING)
    shutil.rmtree(workspace / TRAINED)  # as DVC does before a stage runs
    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "accumulate_gradients", Mock(side_effect=AssertionError("a step")))
        train.run(workspace, params)
    assert results.items() <= digests(workspace / TRAINED).items()
    shutil.rmtree(workspace / TRAINED)
    with monkeypatch.context() as patch:  # nor is it recorded under libraries that it has not seen
        patch.setattr(record, "LIBRARIES", ("numpy",))
        train.run(workspace, params)
    lineage = read_lineage(workspace / TRAINED_MODEL)
    assert "torch" in lineage["environment"]["libraries"]
    (later,) = lineage["training"]["resumed_with"]
    assert later["environment"]["libraries"].keys() == {"numpy"} and later["code"] == lineage["code"]
    shutil.rmtree(workspace / TRAINED)
    train.run(workspace, params)
    assert read_json(workspace / TRAINING) == {**took, "resumed_from": 2} and took["timed_steps"] == 2
    assert "as fast as the last one here" in time_sentence(workspace, params)
    assert remaining.is_dir()
    lock(workspace, digest_file(workspace / RUN, "md5"))
    select.run(workspace, params)
    assert not remaining.exists() and (workspace / MODEL).is_dir()


def test_a_training_that_goes_on_with_another_device_names_both_and_one_that_begins_anew_only_its_own(
    project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = project(photos=5, train={"steps": 3, "checkpoint_every": 1, "save_every": 0})
    params = load_params(PARAMS)
    for stage in (prepare, prior):
        stage.run(workspace, params)
    take_steps = Stepper.accumulate_gradients

    def dies_in_step_3(stepper: Stepper, step: int, meter: Any) -> None:
        if step == 2:
            raise Killed
        take_steps(stepper, step, meter)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Stepper, "accumulate_gradients", dies_in_step_3)
        train.run(workspace, params)
    (started,) = (workspace / CHECKPOINTS).glob("*/run.json")
    found = read_json(started)
    assert [one["device"] for one in found["tries"]] == ["cpu"]
    found["tries"][0] |= {"device": "cuda"}
    write_json(started, found)
    damaged = workspace / "damaged"
    shutil.copytree(started.parent, damaged)
    train.run(workspace, params)
    assert "goes on from step 2 with other device (cuda before, cpu now)" in capsys.readouterr().out
    recorded = read_lineage(workspace / TRAINED_MODEL)["training"]
    assert recorded["device"] == "cuda" and [one["device"] for one in recorded["resumed_with"]] == ["cpu"]
    assert read_json(workspace / TRAINING)["device"] == "cpu"

    # It writes the model again, without a step: whatever would train now, another device has.
    (state,) = started.parent.glob("step-*/state.json")
    finished = read_json(state)
    finished["values"] |= {"device": "cuda"}
    write_json(state, finished)
    train.run(workspace, params)
    assert read_json(workspace / TRAINING)["device"] == "cuda"

    shutil.rmtree(started.parent)
    shutil.copytree(damaged, started.parent)
    for file in started.parent.glob("step-*/optimizer.safetensors"):
        file.write_bytes(b"")
    train.run(workspace, params)
    recorded = read_lineage(workspace / TRAINED_MODEL)["training"]
    assert recorded["device"] == "cpu" and "resumed_with" not in recorded


def test_a_failure_before_the_first_step_is_told_to_mlflow(
    tmp_path: Path, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, live = SimpleNamespace(digest="base"), Mock(run_id="x")
    write_json(tmp_path / PRIOR_INDEX, {"base": {"digest": "base"}, "images": []})
    for name, found in {"read_manifest": [], "resolve_base": base, "inputs_digest": "inputs", "_job": None}.items():
        monkeypatch.setattr(train, name, Mock(return_value=found))
    monkeypatch.setattr("pipeline.registry.live_run.open_run", Mock(return_value=live))
    monkeypatch.setattr("pipeline.training.journal.Journal", Mock(side_effect=OSError("no space left")))
    with pytest.raises(OSError, match="no space left"):
        train.run(tmp_path, parse_params(values, "params.yaml"))
    live.finish.assert_called_once_with("FAILED")


def test_checkpoints_are_known_by_the_prepared_pictures_and_masks(project: Callable[..., Path]) -> None:
    workspace = project(photos=5)
    (workspace / "data" / "masks").mkdir()
    mask = Image.new("L", (80, 64), 0)
    mask.paste(255, (0, 0, 40, 64))
    mask.save(workspace / "data" / "masks" / "photo0.png")
    params = load_params(workspace / PARAMS)
    prepare.run(workspace, params)
    photos, base = read_manifest(workspace / MANIFEST), SimpleNamespace(digest="base", folder=workspace)

    def digest() -> str:
        return inputs_digest(params, photos, {"images": []}, base, workspace / PREPARED)  # type: ignore[arg-type]

    first, known = digest(), set()
    assert digest() == first
    for file in (photos[0].file, photos[0].mask, photos[4].file):
        path = workspace / PREPARED / str(file)
        with Image.open(path) as picture:
            picture.load()
        before = picture.getpixel((3, 3))
        picture.putpixel((3, 3), 255 - before if isinstance(before, int) else (255 - before[0], *before[1:]))
        picture.save(path)
        known.add(digest())
    assert first not in known and len(known) == 3


def test_checkpoints_and_drawn_pictures_are_known_by_what_the_base_s_configurations_say(tmp_path: Path) -> None:
    files = {
        "vae/config.json": {"scaling_factor": 1.0, "_name_or_path": "one"},
        "text_encoder/config.json": {"hidden_act": "gelu"},
        "scheduler/scheduler_config.json": {"beta_end": 0.012},
        "tokenizer/tokenizer_config.json": {"model_max_length": 77, "name_or_path": "one"},
    }
    for name, value in files.items():
        write_json(tmp_path / "base" / name, value)
    params, base = load_params(Path("params.yaml")), SimpleNamespace(digest="base", folder=tmp_path / "base")

    def known_by() -> tuple[str, Path]:
        drawn = Source("base", base.folder, base.digest).drawn(tmp_path)
        return inputs_digest(params, [], {"images": []}, base, tmp_path), drawn  # type: ignore[arg-type]

    first = known_by()
    for name, value in files.items():
        for key in value:
            write_json(tmp_path / "base" / name, value | {key: "other"})
            same = [one == other for one, other in zip(known_by(), first, strict=True)]
            assert same == [key.endswith("name_or_path")] * 2, (name, key)
        write_json(tmp_path / "base" / name, value)
    assert known_by() == first
