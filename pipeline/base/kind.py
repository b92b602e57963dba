"""What kind of model a folder or a file holds, by its configurations: a base that can be trained, or another one."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.base.learned import LEARNED

LFS = b"version https://git-lfs.github.com/spec/"
FAMILIES = {
    "StableDiffusionXL": "Stable Diffusion XL",
    "StableDiffusion3": "Stable Diffusion 3",
    "Flux": "FLUX",
    "PixArt": "PixArt",
    "Kandinsky": "Kandinsky",
    "StableCascade": "Stable Cascade",
    "Wuerstchen": "Würstchen",
    "DiT": "a diffusion transformer",
    "QwenImage": "Qwen-Image",
    "StableDiffusionUpscale": "an upscaler",
    "StableDiffusionDepth2Img": "a depth-to-image model",
    "StableDiffusionInstructPix2Pix": "an instruction-editing model (InstructPix2Pix)",
    "StableDiffusionInpaint": "an inpainting model",
    "LatentConsistencyModel": "a latent consistency model",
}
CHANNELS = {
    5: "a depth-to-image model",
    7: "an upscaler",
    8: "an instruction-editing model (InstructPix2Pix)",
    9: "an inpainting model",
}
CLASSES = {
    "unet": ("UNet2DConditionModel",),
    "vae": ("AutoencoderKL",),
    "text_encoder": ("CLIPTextModel",),
    "tokenizer": ("CLIPTokenizer", "CLIPTokenizerFast"),
}
PIPELINES = ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline")
TEXT_MODELS = ("clip_text_model", "clip")
WANTED = "Stable Diffusion 1.x or 2.x for text-to-image (v1.5 for example) is what can be trained"


def kind_problems(folder: Path, recorded: bool = False) -> list[str]:
    """What tells that a pipeline folder is no base that can be trained: sentences, none where all is well.

    Only JSON files are read; those that are missing are somebody else's matter.

    Args:
        recorded: a record names it as its base, so it may be a model of dreamtrace: such a one was trained before they
            were refused.
    """
    if not recorded and (folder / LEARNED).exists():  # an export would keep only what is learned now
        return [
            f"it is a model that dreamtrace trained ({LEARNED}), and what it learned beside its base's files would be "
            "lost: name the base that it was trained on; or write it with `dreamtrace export`, which puts all but a "
            "learned word into one file, and name that file, to be told how it becomes a base"
        ]
    problems: list[str] = []
    index = _read(folder / "model_index.json", problems)
    name = str(index.get("_class_name", "")) if index else ""
    family = next((words for start, words in FAMILIES.items() if name.startswith(start)), None)
    if family:
        return [f"it is {family} ({name}); {WANTED}"]
    if index and ("text_encoder_2" in index or "transformer" in index):
        return [f"it is {name or 'a pipeline'} with {_parts(index)}; {WANTED}"]
    if index is not None:
        problems += _index_problems(index)
    unet = _read(folder / "unet" / "config.json", problems) or {}
    problems += _unet_problems(unet)
    schedule = _read(folder / "scheduler" / "scheduler_config.json", problems) or {}
    kind = schedule.get("prediction_type", "epsilon")
    if kind not in ("epsilon", "v_prediction"):
        problems.append(f"its scheduler predicts '{kind}'; epsilon and v_prediction can be trained")
    elif "FlowMatch" in str(schedule.get("_class_name", "")):
        problems.append("its scheduler is one for flow matching, which is not trained here")
    elif kind == "epsilon" and schedule.get("rescale_betas_zero_snr"):
        problems.append("its scheduler has zero terminal SNR with epsilon prediction, which cannot be trained")
    vae = _read(folder / "vae" / "config.json", problems) or {}
    latents, channels = vae.get("latent_channels"), unet.get("in_channels")
    if latents and channels and channels not in CHANNELS and latents != channels:
        problems.append(f"its autoencoder makes {latents} channels, its U-Net takes {channels}")
    text = _read(folder / "text_encoder" / "config.json", problems) or {}
    problems += _class_problems(unet, vae, text)
    text |= text.get("text_config") or {}  # a whole CLIP's configuration has it one level down
    width, wanted = text.get("hidden_size"), unet.get("cross_attention_dim")
    if isinstance(width, int) and isinstance(wanted, int) and width != wanted:
        problems.append(f"its text encoder has width {width}, its U-Net wants {wanted}: they are of different models")
    return problems


def weight_problems(files: list[Path]) -> list[str]:
    """Weight files that hold no weights: Git LFS pointers, and files that are cut off; only their headers are read."""
    problems = []
    for path in files:
        with path.open("rb") as file:
            start = file.read(64)
        where = f"{path.parent.name}/{path.name}"
        size = path.stat().st_size
        if start.startswith(LFS):
            problems.append(f"{where} is a Git LFS pointer, not the file itself: run `git lfs pull` there")
        elif size < 8 or (length := int.from_bytes(start[:8], "little")) > size:
            problems.append(f"{where} is not a safetensors file, or is cut off")
        else:
            problems += _header_problem(path, where, length, size)
    return problems


def _header_problem(path: Path, where: str, length: int, size: int) -> Iterator[str]:
    with path.open("rb") as file:
        file.seek(8)
        content = file.read(length)
    try:
        header = json.loads(content)
        end = max((row["data_offsets"][1] for name, row in header.items() if name != "__metadata__"), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        yield f"{where} has a damaged header"
        return
    if size < 8 + length + end:
        yield f"{where} is cut off: it has {size} bytes, its header promises {8 + length + end}"


def _unet_problems(unet: dict[str, Any]) -> list[str]:
    channels = unet.get("in_channels", 4)
    problems = []
    if channels in CHANNELS and unet.get("out_channels", channels) != channels:
        problems.append(f"it is {CHANNELS[channels]} (its U-Net takes {channels} channels); {WANTED}")
    for key in ("addition_embed_type", "class_embed_type", "encoder_hid_dim_type"):
        if unet.get(key):
            problems.append(f"its U-Net wants more than a prompt ({key}: {unet[key]}); {WANTED}")
    if unet.get("time_cond_proj_dim"):
        problems.append(f"it is a distilled model whose guidance is built in (latent consistency); {WANTED}")
    return problems


def _index_problems(index: dict[str, Any]) -> Iterator[str]:
    """A pipeline, or parts of one, of a class that is not trained here, or whose code comes along."""
    name = index.get("_class_name")
    if name not in PIPELINES:
        yield f"model_index.json names the pipeline {name or 'nothing'}; {WANTED}"
    for part, classes in CLASSES.items():
        entry = index.get(part)
        if not isinstance(entry, list) or len(entry) != 2 or None in entry:
            yield f"model_index.json names no {part}"
        elif entry[1] not in classes:
            yield f"its {part} is a {entry[1]}; {classes[0]} is what can be used"
        elif entry[0] not in ("diffusers", "transformers"):
            yield f"its {part} comes from code of its own ({entry[0]}), which is not run"


def _class_problems(unet: dict[str, Any], vae: dict[str, Any], text: dict[str, Any]) -> Iterator[str]:
    """Configurations of parts that say another class than the pipeline needs, whatever model_index.json says."""
    for part, config in (("unet", unet), ("vae", vae)):
        name = config.get("_class_name")
        if name is not None and name not in CLASSES[part]:
            yield f"{part}/config.json is that of a {name}; {CLASSES[part][0]} is what can be used"
    kind = text.get("model_type")
    if kind is not None and kind not in TEXT_MODELS:
        yield f"its text encoder is no CLIP: text_encoder/config.json says {kind}"
    for part, config in (("unet", unet), ("vae", vae), ("text_encoder", text)):
        if config.get("quantization_config"):
            yield f"the weights of {part} are quantized; use the model in float32, float16 or bfloat16"


def _parts(index: dict[str, Any]) -> str:
    return ", ".join(sorted(name for name in index if name in ("text_encoder_2", "text_encoder_3", "transformer")))


def _read(path: Path, problems: list[str]) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, OSError) as error:
        problems.append(f"{path.parent.name}/{path.name} is not JSON ({error})")
        return None
    if not isinstance(found, dict):
        problems.append(f"{path.parent.name}/{path.name} is not a JSON object")
        return None
    return found
