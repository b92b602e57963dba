"""What a training writes, and the refusal of a disk that is too small for it."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.base.components import load_parts
from pipeline.training import checkpoint
from pipeline.training.checkpoint import CheckpointError
from pipeline.training.disk import disk_need
from pipeline.training.trainable import select_trainable
from pipeline.training.training_loop import train


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    "changes",
    [{"optimizer": "adamw", "ema": 0.9}, {"optimizer": "adamw-8bit"}, {"method": "dreambooth-lora"}],
    ids=str,
)
def test_a_run_writes_what_was_foreseen(job, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]) -> None:
    done = job("run", steps=6, checkpoint_every=1, save_every=2, **changes)
    parts = load_parts(done.base)
    need = disk_need(parts, select_trainable(parts, done.token, done.params), done.params)
    most: list[int] = []
    move = checkpoint.whole_folder

    def watched(path: Path) -> Any:
        return Watched(move(path), done.checkpoints, most)

    monkeypatch.setattr(checkpoint, "whole_folder", watched)
    train(done)
    candidates = size_of(done.candidates)
    assert max(most) - candidates == pytest.approx(need.checkpoints, rel=0.12)  # headers and code tables on top
    assert candidates == pytest.approx(need.candidates, rel=0.12)
    assert sum(size_of(done.model / part) for part in ("unet", "text_encoder", "vae")) == pytest.approx(
        need.model, rel=0.1
    )


class Watched:
    """A context manager around another one, which notes how much is on the disk when its block ends."""

    def __init__(self, inner: Any, folder: Path, most: list[int]):
        self.inner, self.folder, self.most = inner, folder, most

    def __enter__(self) -> Path:
        return Path(self.inner.__enter__())

    def __exit__(self, *error: Any) -> None:
        self.most.append(size_of(self.folder))
        self.inner.__exit__(*error)


def test_a_disk_that_is_too_small_is_refused_before_the_first_step(job, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = job("run", steps=6, checkpoint_every=2, save_every=2)
    parts = load_parts(refused.base)
    need = disk_need(parts, select_trainable(parts, refused.token, refused.params), refused.params)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": need.total - 1})())
    with pytest.raises(CheckpointError, match=r"B are free in .*: make room"):
        train(refused)
    assert not refused.checkpoints.exists()
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 2 * need.total})())
    train(refused)
    shutil.rmtree(refused.model)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": need.model})())
    assert train(refused).resumed_from == 6  # nothing but the model is written again
