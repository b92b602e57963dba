"""What other programs read in the header of a safetensors file: ModelSpec (`modelspec.*`) and kohya's keys (`ss_*`).

ModelSpec is Stability AI's standard for model files, version 1.0.1 (github.com/Stability-AI/ModelSpec). The `ss_*` keys
are those of kohya's trainers, which AUTOMATIC1111, Forge and model managers show. No key holds a time or a path: equal
trainings make equal files.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.base.file_header import read_header, set_metadata
from pipeline.base.resolve import native_size
from pipeline.files import CHUNK, read_json
from pipeline.lineage.recorded_base import base_name
from pipeline.params import recorded_batch

SPEC = "1.0.1"
IMPLEMENTATIONS = {"single file": "https://github.com/Stability-AI/generative-models"}
KINDS = {"single file": "", "lora": "/lora", "embedding": "/textual-inversion"}
KOHYA = "kohya.safetensors"


def add_standard_metadata(
    model: Path, params: dict[str, Any], base: dict[str, Any], captions: Sequence[str] = ()
) -> None:
    """Describe the files of a model folder that people hand on: LoRA layers and embeddings."""
    for folder, kind in (("adapters", "lora"), ("embeddings", "embedding")):
        for path in sorted((model / folder).glob("*.safetensors")):
            entries = model_spec(model, params, base, kind) | {"modelspec.hash_sha256": f"0x{_tensors_hash(path)}"}
            if path.name == KOHYA:
                entries |= kohya_metadata(model, params, base, captions)
            set_metadata(path, entries)


def model_spec(model: Path, params: dict[str, Any], base: dict[str, Any], kind: str) -> dict[str, str]:
    """ModelSpec's keys of one file of a model folder.

    Args:
        model: the pipeline folder.
        params: the parameters of its record.
        base: the base's entry in its record.
        kind: "single file", "lora" or "embedding".
    """
    token, noun = params["subject"]["token"], params["subject"]["class_noun"]
    side = params["prepare"]["size"] or native_size(model)
    phrase = f"{token} {noun}"
    found = {
        "modelspec.sai_model_spec": SPEC,
        "modelspec.architecture": architecture(model) + KINDS[kind],
        "modelspec.implementation": IMPLEMENTATIONS.get(kind, "diffusers"),
        "modelspec.title": phrase,
        "modelspec.resolution": f"{side}x{side}",
        "modelspec.description": f"{phrase}, learned from photos ({params['train']['method']}) on {base_name(base)}",
        "modelspec.trigger_phrase": phrase,
        "modelspec.prediction_type": "v" if predicts_velocity(model) else "epsilon",
    }
    if params["train"]["token"]["learn"] and kind != "embedding":
        found["modelspec.usage_hint"] = f"load {token}.safetensors as an embedding as well"
    if base.get("license"):
        found["modelspec.license"] = str(base["license"])
    return found


def kohya_metadata(
    model: Path, params: dict[str, Any], base: dict[str, Any], captions: Sequence[str] = ()
) -> dict[str, str]:
    """The keys of kohya's trainers for a file of LoRA layers that were trained with `params` on `captions`."""
    train = params["train"]
    side = params["prepare"]["size"] or native_size(model)
    text_rate = train["text_encoder"]["learning_rate"] if train["text_encoder"]["learn"] else 0
    second = architecture(model) != "stable-diffusion-v1"
    precision = {"fp32": "no", "fp16": "fp16", "bf16": "bf16"}[train["precision"]]
    found = {
        "ss_network_module": "networks.lora",
        "ss_network_dim": train["lora"]["rank"],
        "ss_network_alpha": train["lora"]["alpha"],
        "ss_base_model_version": "sd_v2" if second else "sd_v1",
        "ss_v2": second,
        "ss_sd_model_name": base_name(base),
        "ss_output_name": params["subject"]["token"],
        "ss_learning_rate": train["learning_rate"],
        "ss_unet_lr": train["learning_rate"],
        "ss_text_encoder_lr": text_rate,
        "ss_max_train_steps": train["steps"],
        "ss_steps": train["steps"],
        "ss_optimizer": train["optimizer"],
        "ss_lr_scheduler": train["schedule"],
        "ss_lr_warmup_steps": train["warmup_steps"],
        "ss_total_batch_size": recorded_batch(train),
        "ss_mixed_precision": precision,
        "ss_seed": train["seed"],
        "ss_min_snr_gamma": train["snr_gamma"],
        "ss_resolution": f"({side}, {side})",
        "ss_num_train_images": len(captions),
    }
    if captions:
        tags = Counter(caption.strip() for caption in captions)
        found["ss_tag_frequency"] = json.dumps({params["subject"]["token"]: tags}, ensure_ascii=False, sort_keys=True)
    return {key: str(value) for key, value in found.items()}


def architecture(model: Path) -> str:
    """ModelSpec's name of what a pipeline folder is built like: Stable Diffusion 1, or 2 by size and prediction."""
    if read_json(model / "unet" / "config.json").get("cross_attention_dim") != 1024:
        return "stable-diffusion-v1"
    return "stable-diffusion-v2-768-v" if predicts_velocity(model) else "stable-diffusion-v2-512"


def predicts_velocity(model: Path) -> bool:
    """Whether the U-Net of a pipeline folder predicts the velocity instead of the noise."""
    return bool(read_json(model / "scheduler" / "scheduler_config.json").get("prediction_type") == "v_prediction")


def _tensors_hash(path: Path) -> str:
    """sha256 of what follows the header."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        read_header(file)
        while chunk := file.read(CHUNK):
            found.update(chunk)
    return found.hexdigest()
