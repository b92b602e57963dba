"""Whether weights fit their configuration: names and shapes, from headers and models without memory, nothing loaded."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline.base.components import weight_files
from pipeline.base.file_header import METADATA, read_header
from pipeline.errors import counted, first_line

Shapes = dict[str, tuple[int, ...]]

FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")

# The names before diffusers 0.13, which loading still understands.
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
OLD_NAME = re.compile(rf"\.({'|'.join(OLD_ATTENTION)})\.(weight|bias)$")
# What a text encoder's file may hold besides: a buffer of older versions, and the rest of a whole CLIP.
BESIDE_TEXT = re.compile(r"(^|\.)position_ids$|^(vision_model|visual_projection|text_projection|logit_scale)")


def fit_problems(folder: Path, variant: str | None = None) -> list[str]:
    """Components whose weights are not those of their config.json, a sentence each.

    Libraries fill what a file lacks with random numbers and drop what it has too much, with a warning at most.
    """
    from transformers import logging

    logging.set_verbosity_error()
    builders: dict[str, Callable[[Path], Any]] = {"unet": _unet, "vae": _vae, "text_encoder": _text_encoder}
    problems = []
    for part, build in builders.items():
        try:
            wanted = _shapes_of(build(folder / part))
        except Exception as error:  # each library has its own for values that it cannot build from
            reason = first_line(error)[:200]
            problems.append(
                f"{part}/config.json describes nothing that can be built ({type(error).__name__}: {reason})"
            )
            continue
        header = {name: row for path in weight_files(folder / part, variant) for name, row in _header(path).items()}
        problem = compare_shapes(part, wanted, {_new_name(name): tuple(row["shape"]) for name, row in header.items()})
        problems += [problem] if problem else []
        whole = sorted({row["dtype"] for name, row in header.items() if _new_name(name) in wanted} - set(FLOATS))
        if whole:
            problems.append(f"{part}: its weights are {', '.join(whole)} (quantized); use the model in 16 or 32 bits")
    return [*problems, *_scheduler_problems(folder)]


def _scheduler_problems(folder: Path) -> Iterator[str]:
    import diffusers

    name = json.loads((folder / "model_index.json").read_text(encoding="utf-8-sig")).get("scheduler")
    if not isinstance(name, list) or not isinstance(name[-1], str) or not hasattr(diffusers, name[-1]):
        yield f"model_index.json names the scheduler {name}, which diffusers does not have; DDIMScheduler will do"
    try:
        diffusers.DDPMScheduler.from_pretrained(folder / "scheduler", local_files_only=True)
    except Exception as error:
        yield f"scheduler/scheduler_config.json describes no noise schedule that can be trained with: {_reason(error)}"


def compare_shapes(part: str, wanted: Shapes, found: Shapes) -> str | None:
    """How the tensors of a file differ from those of the model that its configuration describes; None: in nothing."""
    if part == "text_encoder":
        found = {name: shape for name, shape in found.items() if not BESIDE_TEXT.search(name)}
    other = sorted(name for name in wanted if name in found and wanted[name] != found[name])
    lacking = sorted(set(wanted) - set(found))
    besides = sorted(set(found) - set(wanted))
    told = []
    if other:
        name = other[0]
        told.append(
            f"{_tensors(other)} of another shape ({name}: {_by(found[name])}, config.json says {_by(wanted[name])})"
        )
    if lacking:
        told.append(f"{_tensors(lacking)} missing, such as {lacking[0]}")
    if besides:
        told.append(f"{_tensors(besides)} that config.json does not know, such as {besides[0]}")
    return f"{part}: weights and config.json are of different models: {', '.join(told)}" if told else None


def _unet(folder: Path) -> Any:
    import torch
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        return UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(folder, local_files_only=True))


def _vae(folder: Path) -> Any:
    import torch
    from diffusers import AutoencoderKL

    with torch.device("meta"):
        return AutoencoderKL.from_config(AutoencoderKL.load_config(folder, local_files_only=True))


def _text_encoder(folder: Path) -> Any:
    import torch
    from transformers import CLIPTextConfig, CLIPTextModel

    with torch.device("meta"):
        return CLIPTextModel(CLIPTextConfig.from_pretrained(folder, local_files_only=True))


def _shapes_of(model: Any) -> Shapes:
    return {_new_name(name): tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}, {first_line(error)[:200]}"


def _header(path: Path) -> dict[str, dict[str, Any]]:
    with path.open("rb") as file:
        header = read_header(file)
    return {name: row for name, row in header.items() if name != METADATA}


def _new_name(name: str) -> str:
    name = OLD_NAME.sub(lambda found: f".{OLD_ATTENTION[found.group(1)]}.{found.group(2)}", name)
    return name.removeprefix("text_model.")


def _tensors(names: list[str]) -> str:
    return counted(len(names), "tensor")


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a single number"
