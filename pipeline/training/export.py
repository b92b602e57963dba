"""The finished model as an ordinary diffusers pipeline folder, beside nothing that training needed."""

import json
import shutil
from pathlib import Path
from typing import Any

from pipeline.base.components import weight_files
from pipeline.files import read_json, whole_folder, write_json
from pipeline.training.token import merge_table

DROPPED = ("safety_checker", "feature_extractor", "image_encoder")


def export_model(base: Path, variant: str | None, out: Path, tokenizer: Any, text_encoder: Any, unet: Any) -> None:
    """Write tokenizer, text encoder and U-Net as trained (float32), VAE and scheduler as the base has them.

    `out` appears only when it is complete. Its configurations name no path of this machine.
    """
    merge_table(text_encoder)
    with whole_folder(out) as fresh:
        tokenizer.save_pretrained(fresh / "tokenizer")
        text_encoder.save_pretrained(fresh / "text_encoder", safe_serialization=True)
        unet.save_pretrained(fresh / "unet", safe_serialization=True)
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
            _forget_path(path)
        for path in fresh.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)


def _forget_path(path: Path) -> None:
    """Configurations remember where they were loaded from; that folder means nothing elsewhere."""
    value = read_json(path)
    if isinstance(value, dict) and ("_name_or_path" in value or "name_or_path" in value):
        value.pop("_name_or_path", None)
        value.pop("name_or_path", None)
        path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
