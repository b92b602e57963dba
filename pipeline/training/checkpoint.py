"""Resumable checkpoints: whole or not there at all, checked by digest before they are used."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from pipeline.errors import UserError
from pipeline.files import digest_file, read_json, whole_folder, write_json

KEPT = 2
STATE = "state.json"


class CheckpointError(UserError):
    """A checkpoint could not be written."""


@dataclass
class Checkpoint:
    """Everything that a run needs to go on: named groups of tensors and plain values; `step` steps are done."""

    step: int
    tensors: dict[str, dict[str, torch.Tensor]]
    values: dict[str, Any]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write `folder/step-<n>`, then remove all but the newest two.

    Raises:
        CheckpointError: the disk has no room for it; what was saved before is untouched.
    """
    path = write_checkpoint(folder / f"step-{checkpoint.step:08d}", checkpoint)
    for old in _steps(folder)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return path


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> Path:
    """Write one checkpoint whole: temporary folder, digests, flush, rename.

    Raises:
        CheckpointError: the disk has no room for it, or refused it; what was saved before is untouched.
    """
    folder = path.parent
    folder.mkdir(parents=True, exist_ok=True)
    sizes = (tensor.nbytes for group in checkpoint.tensors.values() for tensor in group.values())
    needed, free = sum(sizes), shutil.disk_usage(folder).free
    if needed * 1.05 > free:
        raise CheckpointError(
            f"a checkpoint needs {needed / 1e9:.2f} GB in {folder}, but the disk has {free / 1e9:.2f} GB left; "
            "make room and start again: training goes on from the last checkpoint"
        )
    try:
        with whole_folder(path) as fresh:
            for name, group in checkpoint.tensors.items():
                save_file(_own_memory(group), fresh / f"{name}.safetensors")
            digests = {file.name: digest_file(file) for file in sorted(fresh.glob("*.safetensors"))}
            write_json(fresh / STATE, {"step": checkpoint.step, "values": checkpoint.values, "files": digests})
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} could not be written ({error}); what was saved before is untouched. Make room and start again: "
            "training goes on from the last checkpoint"
        ) from error
    return path


def sweep(folder: Path) -> None:
    """Remove what a killed process left half written in `folder`; nobody else may be writing there."""
    for path in folder.glob(".step-*"):
        shutil.rmtree(path)


def load_newest(folder: Path) -> Checkpoint | None:
    """The newest checkpoint whose files are whole, or None; damaged ones are passed over."""
    for path in reversed(_steps(folder)):
        found = read_checkpoint(path)
        if found is not None:
            return found
        print(f"checkpoint {path} is damaged; going back to the one before")
    return None


def _own_memory(group: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """On the CPU, each tensor in memory of its own: 8-bit optimizers share one table among all parameters."""
    seen: set[int] = set()
    found = {}
    for key, tensor in group.items():
        ready = tensor.detach().cpu().contiguous()
        found[key] = ready.clone() if ready.data_ptr() in seen else ready
        seen.add(ready.data_ptr())
    return found


def _steps(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))


def read_checkpoint(path: Path) -> Checkpoint | None:
    """A checkpoint, or None where it is missing or its files are not what was written."""
    try:
        state = read_json(path / STATE)
        if any(digest_file(path / name) != digest for name, digest in state["files"].items()):
            return None
        tensors = {name.removesuffix(".safetensors"): load_file(path / name) for name in state["files"]}
        return Checkpoint(state["step"], tensors, state["values"])
    except (OSError, ValueError, KeyError):
        return None


def remove_all(folder: Path) -> None:
    """Remove a finished run's checkpoints."""
    shutil.rmtree(folder, ignore_errors=True)
