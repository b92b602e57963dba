"""What a run writes to the disk, from the base and the parameters, without what is there already."""

import shutil
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pipeline.base.components import weight_files
from pipeline.base.resolve import COMPONENTS, EMBEDDED, is_path
from pipeline.errors import UserError, in_units
from pipeline.files import read_json
from pipeline.layout import LINEAGE, TRAINED_MODEL
from pipeline.params import Params, Train
from pipeline.registry.artifacts import local_path
from pipeline.registry.store import kept_files
from pipeline.runs.costs import base_folder, in_cache
from pipeline.training.finished import CHECKPOINTS

LINKS = {"hardlink", "symlink"}  # alone in DVC's cache.type: the workspace holds nothing beside the cache


@dataclass(frozen=True)
class RunDisk:
    """Bytes that a run adds to the disk of the workspace.

    `training` are there while it trains: checkpoints, candidates and the model. `taking_in` are there when DVC has
    taken these into its cache: model and candidates in workspace and cache, and the last checkpoint with the candidates
    once more, which go then. When the run has ended, there are the model as trained and as selected and the candidates
    in the `workspace`, all of them in DVC's `cache`, and the model in the `registry`. A base of the hub that is not on
    this machine is a `download`.
    """

    download: int
    training: int
    taking_in: int
    workspace: int
    cache: int
    registry: int

    @property
    def peak(self) -> int:
        """The most at once."""
        return self.download + max(self.training, self.taking_in, self.workspace + self.cache + self.registry)


def disk_needed(workspace: Path, params: Params) -> RunDisk | None:
    """What a run adds; None until the base is on this machine, or where it cannot be used."""
    folder = base_folder(params)
    if folder is None:
        return None
    try:
        checkpoints, candidates, learned, model = _writes(folder, params.subject.token, params.train.model_dump_json())
    except (UserError, OSError, ValueError, KeyError):
        return None  # other checks say what is wrong with the base
    known = model - learned if _trained_before(workspace, params) else 0  # of the base, in cache and registry
    every, steps = params.train.save_every, params.train.steps
    kept = candidates - (learned if every and steps % every == 0 else 0)  # that of the last step is the model itself
    chosen = learned if kept else 0  # an earlier step's weights, where one is selected
    types = _link_types(workspace)
    linked = bool(types) and types <= LINKS
    old = sum(_size(path) for path in (workspace / TRAINED_MODEL.parent, workspace / CHECKPOINTS))
    copies = 0 if linked else model + kept + candidates - old
    return RunDisk(
        download=model if _is_downloaded(workspace, params) else 0,
        training=max(0, checkpoints + candidates + model - old),
        taking_in=max(0, copies + learned * (2 if params.train.ema else 1)) + model - known + kept,
        workspace=0 if linked else max(0, 2 * model + kept - _size(workspace / TRAINED_MODEL.parents[1])),
        cache=model - known + kept + chosen,
        registry=model - known if _registry_is_here(workspace, params) else 0,
    )


def disk_sentence(workspace: Path, params: Params) -> str:
    """What a run needs on disk, and what is free."""
    free, needed = shutil.disk_usage(workspace).free, disk_needed(workspace, params)
    if needed is None:
        return f"{in_units(free)} free; what the run needs is unknown until the base is here"
    kept = {"in the workspace": needed.workspace, "in DVC's cache": needed.cache, "in the registry": needed.registry}
    parts = [f"{in_units(size)} {where}" for where, size in kept.items() if size]
    return (
        f"about {in_units(needed.peak)} for the run, {in_units(free)} free ("
        + (f"{in_units(needed.download)} to be downloaded; " if needed.download else "")
        + f"{in_units(needed.training)} while it trains; afterwards {', '.join(parts) or 'nothing more'})"
    )


def disk_problems(workspace: Path, params: Params) -> list[str]:
    """Why a run would end on a full disk; nothing where there is room, or where nobody knows yet."""
    free, folder = shutil.disk_usage(workspace).free, base_folder(params)
    if folder is None or free >= _most(folder, params.train):
        return []
    needed = disk_needed(workspace, params)
    if needed is None or needed.peak <= free:
        return []
    return [
        f"the run needs about {in_units(needed.peak)} on disk, and {in_units(free)} are free: remove old runs "
        "(`dreamtrace clean`, `dvc gc -w`), or raise train.save_every so that fewer candidates are kept"
    ]


def _most(base: Path, train: Train) -> int:
    """More than any run writes, without a look into files: all weights learned, in float32 though they lie in float16.

    Checkpoints are at most three, each with weights, their average and four states; the model is there five times, a
    candidate three times.
    """
    weights = 2 * sum(file.stat().st_size for part in COMPONENTS for file in weight_files(base / part))
    candidates = train.steps // train.save_every if train.save_every else 0
    return weights * (3 * 6 + 5 + 3 * candidates) if weights else 1 << 62


@lru_cache(maxsize=16)
def _writes(base: Path, token: str, train: str) -> tuple[int, int, int, int]:
    """Bytes of checkpoints, candidates, of what is learned and of the whole model: the trainer's own figures."""
    from pipeline.training.disk import disk_need
    from pipeline.training.estimate import trainable_without_weights

    params = Train.model_validate_json(train)
    parts, trainable = trainable_without_weights(base, token, params)
    need = disk_need(parts, trainable, params)
    return need.checkpoints, need.candidates, sum(one.nbytes for one in trainable.parameters), need.model


def _is_downloaded(workspace: Path, params: Params) -> bool:
    """Whether the run brings the base to the workspace's disk, at most its size in float32."""
    from huggingface_hub import constants

    model = params.base.model
    if model in EMBEDDED or is_path(model) or in_cache(model, params.base.revision):
        return False
    cache = Path(constants.HF_HUB_CACHE)
    there = next(folder for folder in (cache, *cache.parents) if folder.exists())
    return there.stat().st_dev == workspace.stat().st_dev


def _trained_before(workspace: Path, params: Params) -> bool:
    """Whether a run of this workspace has brought the base's files to cache and registry."""
    try:
        before = read_json(workspace / TRAINED_MODEL / LINEAGE)["params"]
        return bool(before["base"]["model"] == params.base.model)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _link_types(workspace: Path) -> set[str]:
    """`cache.type` of DVC's settings of this repository; those of this machine win."""
    from configobj import ConfigObj, ConfigObjError

    for name in ("config.local", "config"):
        try:
            found = ConfigObj(str(workspace / ".dvc" / name), list_values=False, encoding="utf-8")
            if kind := found.get("cache", {}).get("type"):
                return {one.strip() for one in str(kind).strip("\"'").split(",")}
        except (ConfigObjError, OSError, UnicodeDecodeError):
            continue
    return set()


def _registry_is_here(workspace: Path, params: Params) -> bool:
    """Whether the registry's files are on the disk of the workspace."""
    path = local_path(kept_files(workspace, params.register_.experiment) or "s3:")
    if path is None:
        return False
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    return there.stat().st_dev == workspace.stat().st_dev


def _size(folder: Path) -> int:
    """Bytes of the files below a folder that are there once."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
