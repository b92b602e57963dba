"""Export of the trained model as an ordinary diffusers pipeline folder."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import save_file

from pipeline.base.components import Parts, weight_files
from pipeline.files import read_json, whole_folder, write_json
from pipeline.training.adapters import describe_adapters, save_adapters
from pipeline.training.token import merge_embedding
from pipeline.training.trainable import Trainable, merge_adapters

if TYPE_CHECKING:
    from pipeline.training.job import Job

DROPPED = ("safety_checker", "feature_extractor", "image_encoder")


def export_model(job: "Job", parts: Parts, trainable: Trainable) -> None:
    """Write the trained tokenizer, text encoder and U-Net (float32), and the base's VAE and scheduler, to `job.model`.

    LoRA layers are merged into the weights, and also written to `adapters/` in the formats of diffusers and of ComfyUI
    and AUTOMATIC1111, with a README that says which file is for which program. The rows of a learned token are written
    to `embeddings/<token>.safetensors` as a textual inversion. `job.model` appears only when it is complete; no
    configuration in it has a path of this machine.

    Afterwards `parts` hold the merged model and can be trained no further.

    Raises:
        OSError: the folder cannot be written.
    """
    base, variant = job.base, job.variant
    with whole_folder(job.model) as fresh:
        if job.params.method == "dreambooth-lora":
            save_adapters(parts, trainable, job.params.lora.alpha, fresh / "adapters")
            describe_adapters(fresh / "adapters", job.token if trainable.token is not None else None)
        for module in (parts.unet, parts.text_encoder):
            merge_adapters(module)
        if trainable.token is not None:
            (fresh / "embeddings").mkdir()
            rows = trainable.token.rows.detach().cpu().contiguous()
            save_file({job.token: rows}, fresh / "embeddings" / f"{job.token}.safetensors", {"format": "pt"})
        merge_embedding(parts.text_encoder)
        parts.tokenizer.save_pretrained(fresh / "tokenizer")
        parts.text_encoder.save_pretrained(fresh / "text_encoder", safe_serialization=True)
        parts.unet.save_pretrained(fresh / "unet", safe_serialization=True)
        shutil.copytree(base / "scheduler", fresh / "scheduler", ignore=shutil.ignore_patterns(".*"))
        (fresh / "vae").mkdir()
        shutil.copy(base / "vae" / "config.json", fresh / "vae" / "config.json")
        for file in weight_files(base / "vae", variant):
            name = file.name.replace(f".{variant}.", ".") if variant else file.name
            shutil.copy(file, fresh / "vae" / name)
        index = read_json(base / "model_index.json")
        index |= {part: [None, None] for part in DROPPED if part in index}
        index |= {"requires_safety_checker": False}
        write_json(fresh / "model_index.json", index)
        for path in fresh.rglob("*.json"):
            _remove_path(path)
        for path in fresh.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)


def _remove_path(path: Path) -> None:
    """Remove the folder that a configuration was loaded from, which means nothing on other machines."""
    value = read_json(path)
    if isinstance(value, dict) and ("_name_or_path" in value or "name_or_path" in value):
        value.pop("_name_or_path", None)
        value.pop("name_or_path", None)
        path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
