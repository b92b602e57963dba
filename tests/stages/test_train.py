"""The end of the stage `train`, cut off at any point; and what its checkpoints are known by."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from pipeline import files
from pipeline.files import digest_file, read_json
from pipeline.layout import CANDIDATES, MANIFEST, PARAMS, PREPARED, RUN
from pipeline.params import load_params, parse_params
from pipeline.photos.manifest import read_manifest
from pipeline.stages import prepare
from pipeline.stages.train import finish, inputs_digest
from pipeline.training.job import Job

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
        for kind in ("candidates/", "")[: 1 + (step > 2)]:
            made = folder / f"{kind}step-{step:08d}"
            made.mkdir(parents=True)
            for name in ("unet.safetensors", "state.json"):
                (made / name).write_text(f"{kind}{name} of step {step}")
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


@pytest.mark.parametrize("before", [False, True], ids=["first run", "again"])
def test_cut_off_at_any_point_a_finished_training_can_resume_with_all_candidates_or_has_kept_them(
    tmp_path: Path, done: Job, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    whole, number, alive = digests(done.checkpoints), 0, True
    resumable = []
    while alive:
        workspace = tmp_path / str(number)
        job = replace(done, checkpoints=workspace / ".dreamtrace" / "checkpoints" / "inputs")
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
        found = digests(job.checkpoints) if job.checkpoints.exists() else None
        assert found == whole or (found is None and is_kept(workspace)), number
        assert not (workspace / RUN).exists() or is_kept(workspace), number
        resumable.append(found is not None)
        if found is not None:  # the same command again; the stage's results before are gone
            shutil.rmtree(workspace / "artifacts", ignore_errors=True)
            finish(workspace, job, {"run_id": "x"})
            assert is_kept(workspace) and not job.checkpoints.exists()
        number += 1
    assert number > 20 and resumable[0] and not resumable[-1]
    assert not list(workspace.rglob("*.removed"))


def test_checkpoints_are_known_by_the_prepared_pictures_and_masks(project: Callable[..., Path]) -> None:
    workspace = project(photos=5)
    (workspace / "data" / "masks").mkdir()
    mask = Image.new("L", (80, 64), 0)
    mask.paste(255, (0, 0, 40, 64))
    mask.save(workspace / "data" / "masks" / "photo0.png")
    params = load_params(workspace / PARAMS)
    prepare.run(workspace, params)
    photos, base = read_manifest(workspace / MANIFEST), SimpleNamespace(digest="base")

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
