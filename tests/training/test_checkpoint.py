from pathlib import Path

import pytest
import torch

from pipeline.training import checkpoint as module
from pipeline.training.checkpoint import (
    Checkpoint,
    CheckpointError,
    keep_weights,
    load_newest,
    remove_partial,
    save_checkpoint,
)


def checkpoint(step: int) -> Checkpoint:
    return Checkpoint(step, {"unet": {"w": torch.full((3,), float(step))}}, {"rows": [{"step": step}]})


def test_a_checkpoint_comes_back_whole(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, checkpoint(5))
    found = load_newest(tmp_path)
    assert found is not None
    assert (found.step, found.values) == (5, {"rows": [{"step": 5}]})
    assert found.tensors["unet"]["w"].tolist() == [5, 5, 5]


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert load_newest(tmp_path / "nothing") is None


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    for step in (90, 100, 1000):
        save_checkpoint(tmp_path, checkpoint(step))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000100", "step-00001000"]


def test_the_one_that_was_just_written_is_kept_beside_later_ones(tmp_path: Path) -> None:
    for step in (8, 9):
        (save_checkpoint(tmp_path, checkpoint(step)) / "state.json").write_text("{")
    for step in (1, 2):
        save_checkpoint(tmp_path, checkpoint(step))
        found = load_newest(tmp_path)
        assert found is not None and found.step == step


def test_one_that_may_not_be_read_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in (1, 2):
        path = save_checkpoint(tmp_path, checkpoint(step))

    def refused(file: Path) -> str:
        raise PermissionError(13, "Permission denied", str(file))

    refusal = pytest.raises(CheckpointError, match=r"step-00000002 cannot be read.*go on from the one before it")
    with monkeypatch.context() as patch, refusal:
        patch.setattr(module, "digest_file", refused)
        load_newest(tmp_path)
    assert path.is_dir()


@pytest.mark.parametrize("damage", ["byte", "cut", "state", "missing"])
def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path, damage: str) -> None:
    save_checkpoint(tmp_path, checkpoint(1))
    path = save_checkpoint(tmp_path, checkpoint(2))
    file = path / "unet.safetensors"
    content = bytearray(file.read_bytes())
    if damage == "byte":
        content[-1] ^= 1
        file.write_bytes(content)
    elif damage == "cut":
        file.write_bytes(content[:-4])
    elif damage == "state":
        (path / "state.json").write_text("{")
    else:
        file.unlink()
    found = load_newest(tmp_path)
    assert found is not None
    assert found.step == 1


def test_a_folder_left_by_a_kill_is_not_a_checkpoint(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, checkpoint(1))
    (tmp_path / ".step-00000002.x1y2").mkdir()
    (tmp_path / ".step-00000002.x1y2" / "unet.safetensors").write_bytes(b"half")
    assert load_newest(tmp_path).step == 1
    remove_partial(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_a_full_disk_is_refused_before_anything_is_written(tmp_path: Path, monkeypatch) -> None:
    save_checkpoint(tmp_path, checkpoint(1))
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 4})())
    with pytest.raises(CheckpointError, match="make room"):
        save_checkpoint(tmp_path, checkpoint(2))
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_of_a_finished_run_the_last_checkpoint_stays_without_the_optimizer(tmp_path: Path) -> None:
    for step in (1, 2):
        one = checkpoint(step)
        one.tensors["optimizer"] = {"0.exp_avg": torch.ones(3)}
        save_checkpoint(tmp_path, one)
    for _ in range(2):
        keep_weights(tmp_path)
        found = load_newest(tmp_path)
        assert found is not None
        assert (found.step, found.values, list(found.tensors)) == (2, {"rows": [{"step": 2}]}, ["unet"])
        files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
        assert files == ["step-00000002/state.json", "step-00000002/unet.safetensors"]


def test_tensors_that_share_memory_are_saved(tmp_path: Path) -> None:
    shared = torch.arange(4.0)
    save_checkpoint(tmp_path, Checkpoint(1, {"optimizer": {"a": shared, "b": shared}}, {}))
    assert load_newest(tmp_path).tensors["optimizer"]["b"].tolist() == [0, 1, 2, 3]
