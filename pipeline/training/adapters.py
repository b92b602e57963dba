"""The file of LoRA layers in a model folder: in kohya's format, which diffusers reads as well."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from pipeline.base.components import Parts
from pipeline.base.file_header import sort_metadata
from pipeline.base.learned import layer_name
from pipeline.training.trainable import Trainable

DIFFUSERS, KOHYA, README = "pytorch_lora_weights.safetensors", "kohya.safetensors", "README.md"
PURPOSES = {
    DIFFUSERS: "diffusers: `pipe.load_lora_weights(FOLDER)`. ComfyUI and AUTOMATIC1111 ignore it without an error",
    KOHYA: "ComfyUI (`models/loras`), AUTOMATIC1111 and Forge (`models/Lora`), diffusers "
    '(`pipe.load_lora_weights(FOLDER, weight_name="kohya.safetensors")`), and whatever reads kohya\'s format',
}


def describe_adapters(folder: Path, token: str | None) -> None:
    """Write a README that says what the file is for; `token` has an embedding that belongs to it."""
    lines = ["# LoRA layers", "", "| file | for |", "| --- | --- |"]
    lines += [f"| `{name}` | {text} |" for name, text in PURPOSES.items() if (folder / name).exists()]
    lines += ["", "Load them on the base that they were trained on; the file's metadata names it."]
    if not (folder / KOHYA).exists():
        lines += ["DoRA layers are written for diffusers alone; for other programs use the whole model."]
    if token is not None:
        lines += [
            f"They need the learned word as well: load `../embeddings/{token}.safetensors` as a textual inversion",
            f"(`models/embeddings` in ComfyUI, `embeddings` in AUTOMATIC1111), and write `{token}` in the prompt.",
        ]
    (folder / README).write_text("\n".join(lines) + "\n", encoding="utf-8")


def save_adapters(parts: Parts, trainable: Trainable, alpha: int, folder: Path) -> str:
    """Write the LoRA layers to `folder` and return the file's name: `kohya.safetensors`, or for DoRA layers
    `pytorch_lora_weights.safetensors` in diffusers' format, because nothing here could verify the first one.
    """
    from diffusers import StableDiffusionPipeline
    from peft import get_peft_model_state_dict

    modules = {"unet": parts.unet, "text_encoder": parts.text_encoder}
    found = {
        name: get_peft_model_state_dict(modules[name]) for name in ("unet", "text_encoder") if name in trainable.modules
    }
    if parts.unet.peft_config["default"].use_dora:
        settings = {name: _in_order(modules[name].peft_config["default"].to_dict()) for name in found}
        StableDiffusionPipeline.save_lora_weights(
            folder,
            unet_lora_layers=found.get("unet"),
            text_encoder_lora_layers=found.get("text_encoder"),
            unet_lora_adapter_metadata=settings["unet"],
            text_encoder_lora_adapter_metadata=settings.get("text_encoder"),
        )
        sort_metadata(folder / DIFFUSERS)
        return DIFFUSERS
    kohya = {}
    for name, layers in found.items():
        for key, tensor in layers.items():
            kohya[kohya_key(name, key)] = tensor.detach().cpu().contiguous()
            if "lora_A" in key:
                kohya[f"{kohya_key(name, key).split('.')[0]}.alpha"] = torch.tensor(float(alpha))
    folder.mkdir(parents=True)
    save_file(kohya, folder / KOHYA, {"format": "pt"})
    return KOHYA


def _in_order(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of an adapter without sets, whose order changes from one process to the next."""
    return {key: sorted(value) if isinstance(value, set) else value for key, value in settings.items()}


def kohya_key(component: str, key: str) -> str:
    """The name of a LoRA tensor of `component` ('unet' or 'text_encoder') in kohya's format."""
    path, _, kind = key.rpartition(".lora_")
    last = {"A.weight": "lora_down.weight", "B.weight": "lora_up.weight"}[kind]
    return f"{layer_name(component, path)}.{last}"
