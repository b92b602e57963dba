"""Resumable checkpoints: written atomically, and checked by digest before use."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from pipeline.errors import UserError, in_units
from pipeline.files import digest_file, read_json, whole_folder, write_json

KEEP = 2
STATE, OPTIMIZER = "state.json", "optimizer.safetensors"


class CheckpointError(UserError):
    """A checkpoint could not be written, or is there and may not be read."""


@dataclass
class Checkpoint:
    """All that a run needs to resume after `step` steps: named groups of tensors, and JSON values."""

    step: int
    tensors: dict[str, dict[str, torch.Tensor]]
    values: dict[str, Any]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write `folder/step-<n>`, then remove all but this one and the newest of the others.

    Raises:
        CheckpointError: the disk is full or refused the files; earlier checkpoints are intact.
    """
    path = write_checkpoint(folder / _name(checkpoint.step), checkpoint)
    others = [other for other in _steps(folder) if other != path]
    for old in others[: max(0, len(others) - KEEP + 1)]:
        shutil.rmtree(old, ignore_errors=True)
    return path


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> Path:
    """Write one checkpoint atomically: temporary folder, digests, flush to disk, rename.

    Tensors on another device are copied to the CPU one group (one file) at a time.

    Raises:
        CheckpointError: the disk is full or refused the files; earlier checkpoints are intact.
    """
    folder = path.parent
    folder.mkdir(parents=True, exist_ok=True)
    sizes = (tensor.nbytes for group in checkpoint.tensors.values() for tensor in group.values())
    needed, free = sum(sizes), shutil.disk_usage(folder).free
    if needed * 1.05 > free:
        raise CheckpointError(
            f"a checkpoint needs {in_units(needed)} in {folder}, but the disk has only {in_units(free)} left; "
            "make room and run the same command again: it resumes from the last checkpoint"
        )
    try:
        with whole_folder(path) as fresh:
            for name, group in checkpoint.tensors.items():
                save_file(_unshared_on_cpu(group), fresh / f"{name}.safetensors")
            digests = {file.name: digest_file(file) for file in sorted(fresh.glob("*.safetensors"))}
            write_json(fresh / STATE, {"step": checkpoint.step, "values": checkpoint.values, "files": digests})
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} could not be written ({error}); earlier checkpoints are intact. Make room and run the same "
            "command again: it resumes from the last checkpoint"
        ) from error
    return path


def remove_partial(folder: Path) -> None:
    """Remove the temporary folders that a killed process left in `folder`; no other process may be writing there."""
    for path in folder.glob(".step-*"):
        shutil.rmtree(path)


def remove_later(folder: Path, step: int) -> None:
    """Remove the checkpoints of steps after `step`, where a run goes on from there: they are damaged."""
    for path in _steps(folder):
        if path.name > _name(step):
            shutil.rmtree(path, ignore_errors=True)


def load_newest(folder: Path) -> Checkpoint | None:
    """The newest undamaged checkpoint, or None; prints a line for each damaged one that it skips.

    Raises:
        CheckpointError: the system refuses to read one.
    """
    for path in reversed(_steps(folder)):
        found = read_checkpoint(path, "remove it to go on from the one before it")
        if found is not None:
            return found
        print(f"checkpoint {path} is damaged; trying the one before it")
    return None


def read_checkpoint(path: Path, remedy: str) -> Checkpoint | None:
    """A checkpoint, or None if it is missing or a file's digest does not match.

    Args:
        remedy: what helps where it cannot be made readable.

    Raises:
        CheckpointError: it is there, but the system refuses to read it: it may well be whole.
    """
    try:
        state = read_json(path / STATE)
        if any(digest_file(path / name) != digest for name, digest in state["files"].items()):
            return None
        tensors = {name.removesuffix(".safetensors"): load_file(path / name) for name in state["files"]}
        return Checkpoint(state["step"], tensors, state["values"])
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, SafetensorError):
        return None
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}), so nobody can tell whether it is whole: let this user read it and run "
            f"the same command again, or {remedy}"
        ) from error


def keep_weights(folder: Path) -> None:
    """Of a finished run keep the last checkpoint, without the optimizer's states: enough to export the model again.

    Cut off at any point, it leaves a whole checkpoint of the last step.
    """
    *older, last = _steps(folder)
    state = read_json(last / STATE)
    state["files"].pop(OPTIMIZER, None)
    write_json(last / STATE, state)
    (last / OPTIMIZER).unlink(missing_ok=True)
    for old in older:
        shutil.rmtree(old, ignore_errors=True)


def is_written(folder: Path, step: int) -> bool:
    """Whether there is a checkpoint of a step."""
    return (folder / _name(step)).is_dir()


def _unshared_on_cpu(group: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors on the CPU, each with storage of its own: 8-bit optimizers share one code table among parameters,
    which safetensors refuses to write.
    """
    seen: set[int] = set()
    found = {}
    for key, tensor in group.items():
        ready = tensor.detach().cpu().contiguous()
        found[key] = ready.clone() if ready.data_ptr() in seen else ready
        seen.add(ready.data_ptr())
    return found


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _steps(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))
