"""One safetensors file in Stable Diffusion's original layout, as ComfyUI, AUTOMATIC1111 and others load it."""

import re
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from pipeline.base.components import weight_files
from pipeline.errors import UserError
from pipeline.files import read_json

RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1"}
RESNET |= {"norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}
EDGES = {"conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2"}
EDGES |= {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2"}
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


class LayoutError(UserError):
    """The model has no place in Stable Diffusion's original layout."""


def write_single_file(model: Path, target: Path, metadata: dict[str, str], known_words: int | None = None) -> None:
    """Write U-Net, VAE and text encoder of a pipeline folder into `target`, which must not exist.

    Args:
        metadata: of the file's header.
        known_words: rows of the token table that go into the file; programs that read it bring a tokenizer of their
            own, and take a learned token from its embedding file.

    Raises:
        LayoutError: the file exists, or the U-Net is not built like Stable Diffusion's.
    """
    if target.exists():
        raise LayoutError(f"{target} exists already; remove it, or name another file")
    config = read_json(model / "unet" / "config.json")
    layers = config["layers_per_block"]
    if not isinstance(layers, int):
        raise LayoutError("a U-Net with different numbers of layers in its blocks has no original layout")
    attended = [kind.startswith("CrossAttn") for kind in config["up_block_types"]]
    found: dict[str, torch.Tensor] = {}
    for name, tensor in _tensors(model / "unet").items():
        found[f"model.diffusion_model.{unet_key(name, layers, attended)}"] = tensor
    levels = len(read_json(model / "vae" / "config.json")["block_out_channels"])
    for name, tensor in _tensors(model / "vae").items():
        key = vae_key(name, levels)
        flat = ".attn_1." in key and key.endswith(".weight") and ".norm." not in key
        found[f"first_stage_model.{key}"] = tensor[:, :, None, None] if flat and tensor.ndim == 2 else tensor
    for name, tensor in _tensors(model / "text_encoder").items():
        path = name if name.startswith("text_model.") else f"text_model.{name}"
        table = name.endswith("token_embedding.weight")
        found[f"cond_stage_model.transformer.{path}"] = tensor[:known_words] if table else tensor
    part = target.with_name(f".{target.name}.part")
    save_file({key: tensor.contiguous() for key, tensor in found.items()}, part, {"format": "pt", **metadata})
    part.rename(target)


def unet_key(name: str, layers: int, attended: list[bool]) -> str:
    """The original name of a diffusers U-Net tensor; `layers` a block, `attended` whether each up block attends."""
    for ours, theirs in EDGES.items():
        if name.startswith(f"{ours}."):
            return theirs + name[len(ours) :]
    if match := re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.+)", name):
        kind, index, rest = match[1], int(match[2]), match[3]
        place = 1 if kind == "attentions" else 2 * index
        return f"middle_block.{place}.{_inside(kind, rest)}"
    match = re.match(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)", name)
    if match is None:
        raise LayoutError(f"the U-Net's tensor {name} has no place in the original layout")
    side, level, kind, index, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
    if side == "down":
        if kind == "downsamplers":
            return f"input_blocks.{(layers + 1) * (level + 1)}.0.op.{rest.removeprefix('conv.')}"
        return f"input_blocks.{(layers + 1) * level + index + 1}.{int(kind == 'attentions')}.{_inside(kind, rest)}"
    if kind == "upsamplers":
        return f"output_blocks.{(layers + 1) * level + layers}.{1 + attended[level]}.{rest}"
    return f"output_blocks.{(layers + 1) * level + index}.{int(kind == 'attentions')}.{_inside(kind, rest)}"


def _inside(kind: str, rest: str) -> str:
    if kind == "attentions":
        return rest
    part, _, last = rest.rpartition(".")
    return f"{RESNET[part]}.{last}"


def vae_key(name: str, levels: int) -> str:
    """The original name of a diffusers autoencoder tensor; `levels` the number of resolutions."""
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda match: f"mid.block_{int(match[1]) + 1}", name)
    name = re.sub(r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(
        r"up_blocks\.(\d)\.(resnets|upsamplers)\.(\d)",
        lambda match: (
            f"up.{levels - 1 - int(match[1])}." + (f"block.{match[3]}" if match[2] == "resnets" else "upsample")
        ),
        name,
    )
    if match := re.match(r"(.+)mid_block\.attentions\.0\.(.+)\.(weight|bias)$", name):
        name = f"{match[1]}mid.attn_1.{ATTENTION[match[2]]}.{match[3]}"
    return name


def _tensors(component: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for path in weight_files(component) for name, tensor in load_file(path).items()}
