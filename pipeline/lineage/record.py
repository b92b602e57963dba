"""`lineage.json`: written into the model folder when training ends, and into the headers of the learned weights."""

import json
import os
import platform
import re
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pipeline.base.digest import settings_digest
from pipeline.base.file_header import set_metadata
from pipeline.base.learned import learned_files
from pipeline.base.resolve import ResolvedBase
from pipeline.files import digest_value, write_json
from pipeline.layout import DATA, DATA_DVC, DVC_LOCK, LINEAGE
from pipeline.lineage.code import code_state
from pipeline.lineage.digests import content_digest, dvc_folder_md5, tracked_md5
from pipeline.lineage.dvc_stages import locked_stages
from pipeline.lineage.header import HEADER_KEY, short_record
from pipeline.lineage.model_files import model_files
from pipeline.lineage.read import FORMAT
from pipeline.lineage.standard_metadata import add_standard_metadata
from pipeline.params import Params, dump_params
from pipeline.photos.manifest import Photo

LIBRARIES = (
    "dreamtrace", "torch", "diffusers", "transformers", "tokenizers", "accelerate", "bitsandbytes", "peft",
    "prodigyopt", "safetensors", "numpy", "pillow", "pillow-heif", "dvc", "mlflow", "prefect", "c2pa-python",
    "cryptography",
)  # fmt: skip


def write_lineage(
    workspace: Path,
    model: Path,
    params: Params,
    photos: list[Photo],
    base: ResolvedBase,
    prior: dict[str, Any],
    run: dict[str, Any],
    code: dict[str, Any] | None = None,
    on: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Gather the record, write `model/lineage.json` and a short form into the headers of the learned weights.

    `code` is what `code_state` found when training began, `on` what `environment` did; without them the present state
    is recorded. While training
    runs, `dvc.lock` knows only the stages before it, in their present state: those entries are kept.
    """
    values = dump_params(params)
    described = {"model": base.model, "revision": base.revision, "variant": base.variant}
    described |= {"digest": base.digest, "settings_digest": settings_digest(base.folder), "license": base.license}
    add_standard_metadata(model, values, described, [photo.caption for photo in photos if photo.split == "train"])
    places = prior.get("places", [])  # a list of an older version has none
    lineage = {
        "format": FORMAT,
        "subject": values["subject"],
        "weights": {"content_digest": content_digest(model)},
        "files": model_files(model),
        "photos": {
            "path": DATA.as_posix(),
            "dvc_md5": dvc_folder_md5(workspace / DATA) if (workspace / DATA).is_dir() else None,
            "tracked_md5": tracked_md5(workspace / DATA_DVC),
            "manifest_digest": digest_value([asdict(photo) for photo in photos]),
            "files": [asdict(photo) for photo in photos],
        },
        "params": values,
        "params_digest": digest_value(values),
        "base": described,
        "prior": {
            "prompts": list(dict.fromkeys(image["prompt"] for image in prior["images"])),
            "images": len(prior["images"]),
            "places": len(places),
            "digest": digest_value([*prior["images"], *places]),
        },
        "code": portable(code if code is not None else code_state(workspace), workspace),
        "lock": _lock(workspace / DVC_LOCK),
        "environment": on if on is not None else environment(),
        "training": run,
    }
    _write(model, lineage)
    return lineage


def write_selected(model: Path, trained: dict[str, Any], selection: dict[str, Any]) -> dict[str, Any]:
    """The record of a model chosen among the candidates of a training whose record is `trained`, written like it."""
    captions = [photo["caption"] for photo in trained["photos"]["files"] if photo["split"] == "train"]
    add_standard_metadata(model, trained["params"], trained["base"], captions)
    weights = {"content_digest": content_digest(model)}
    lineage = {**trained, "weights": weights, "files": model_files(model), "selection": selection}
    _write(model, lineage)
    return lineage


def _write(model: Path, lineage: dict[str, Any]) -> None:
    write_json(model / LINEAGE, lineage)
    text = json.dumps(short_record(lineage), sort_keys=True)
    for path in learned_files(model):
        set_metadata(path, {HEADER_KEY: text})


def portable(code: dict[str, Any], workspace: Path) -> dict[str, Any]:
    """The state of the code without the path of this machine's workspace."""
    if "unknown" not in code:
        return code
    return {**code, "unknown": code["unknown"].replace(str(workspace.resolve()), "the workspace")}


def environment() -> dict[str, Any]:
    """Library versions and hardware, without names of machines or people."""
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "libraries": {name: found for name in LIBRARIES if (found := _version(name))},
        "hardware": _hardware(),
    }


def _lock(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    stages = locked_stages(path)
    return {name: stages[name] for name in ("prepare", "prior") if name in stages}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _hardware() -> dict[str, Any]:
    import torch

    found: dict[str, Any] = {"cpu": _cpu(), "cores": os.cpu_count()}
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
        found["cuda"] = torch.version.cuda
    return found


def _cpu() -> str:
    try:
        match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        match = None
    return match.group(1).strip() if match else platform.processor() or platform.machine()
