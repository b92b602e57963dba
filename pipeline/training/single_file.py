"""Export to one safetensors file in Stable Diffusion v1's original layout, as ComfyUI and AUTOMATIC1111 load it."""

import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from pipeline.base.components import weight_files
from pipeline.base.file_header import sort_metadata
from pipeline.base.learned import with_learned
from pipeline.errors import UserError, system_failure
from pipeline.files import read_json

RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1"}
RESNET |= {"norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}
EDGES = {"conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2"}
EDGES |= {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2"}
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
# The names before diffusers 0.13, which many published bases still have.
ATTENTION |= {"query": "q", "key": "k", "value": "v", "proj_attn": "proj_out"}
AUTOENCODER = re.compile(r"(encoder|decoder)\.(conv_in|conv_out|norm_out|mid|down|up)\.|(post_)?quant_conv\.")


class LayoutError(UserError):
    """The model cannot be written in Stable Diffusion v1's original layout, or not to this file."""


def check_target(target: Path) -> None:
    """Refuse a file that exists or has another ending than `.safetensors`.

    Raises:
        LayoutError: with what to do.
    """
    if target.suffix.lower() != ".safetensors":
        raise LayoutError(f"{target} must end in .safetensors: this format alone is written")
    if target.exists():
        raise LayoutError(f"{target} exists already; remove it or name another file")


def write_single_file(
    model: Path, target: Path, metadata: dict[str, str], vocabulary_size: int | None = None, half: bool = False
) -> None:
    """Write U-Net, VAE and text encoder of the pipeline folder `model` into the new file `target`.

    All tensors are held in memory at once. A U-Net that predicts the velocity is marked by the empty tensor `v_pred`,
    a schedule with zero terminal SNR by `ztsnr`, and both by metadata, as the programs that read such files expect.

    Args:
        model: the pipeline folder.
        target: the file; folders above it are made.
        metadata: of the file's header.
        vocabulary_size: number of rows of the token embedding that are written (None: all). Other programs have a
            tokenizer of their own and read a learned token from its embedding file.
        half: write float16, which these programs compute in anyway: half the size.

    Raises:
        LayoutError: the file exists or cannot be written, or the model is not built like Stable Diffusion v1.
    """
    check_target(target)
    found = _unet(model) | _vae(model) | _text_encoder(model, vocabulary_size)
    schedule = read_json(model / "scheduler" / "scheduler_config.json")
    if half:
        found = {key: to_half(key, tensor) for key, tensor in found.items()}
    velocity = schedule.get("prediction_type") == "v_prediction"
    if velocity:
        found["v_pred"] = torch.zeros(0)
    if schedule.get("rescale_betas_zero_snr"):
        found["ztsnr"] = torch.zeros(0)
    header = {"format": "pt", **metadata}
    save_whole(found, target, header)


def save_whole(tensors: dict[str, torch.Tensor], target: Path, metadata: dict[str, str]) -> None:
    """Write a safetensors file that appears when it is complete, readable for everybody.

    Raises:
        LayoutError: it cannot be written.
    """
    part = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, part, metadata)
        sort_metadata(part)
        part.chmod(0o644)
        part.rename(target)
    except (OSError, SafetensorError) as error:
        refused = system_failure(error)
        raise LayoutError(f"{target} could not be written: {refused or error}") from None
    finally:
        part.unlink(missing_ok=True)


def to_half(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """A tensor in float16; whole numbers stay as they are.

    Raises:
        LayoutError: a number is too large for float16.
    """
    if not tensor.is_floating_point():
        return tensor
    half = tensor.half()
    if not torch.isfinite(half).all():
        raise LayoutError(f"{name} has numbers too large for half precision; export without --half")
    return half


def _unet(model: Path) -> dict[str, torch.Tensor]:
    config = read_json(model / "unet" / "config.json")
    layers = config["layers_per_block"]
    if not isinstance(layers, int):
        raise LayoutError("the U-Net's blocks have different numbers of layers, which the original layout cannot have")
    if config.get("use_linear_projection"):
        raise _stable_diffusion_2("unet/config.json has use_linear_projection")
    attended = [kind.startswith("CrossAttn") for kind in config["up_block_types"]]
    tensors = with_learned(model, "unet", _tensors(model / "unet")).items()
    return {f"model.diffusion_model.{unet_key(name, layers, attended)}": tensor for name, tensor in tensors}


def _vae(model: Path) -> dict[str, torch.Tensor]:
    levels = len(read_json(model / "vae" / "config.json")["block_out_channels"])
    found = {}
    for name, tensor in _tensors(model / "vae").items():
        key = vae_key(name, levels)
        is_linear = ".attn_1." in key and key.endswith(".weight") and tensor.ndim == 2  # a 1 x 1 convolution there
        found[f"first_stage_model.{key}"] = tensor[:, :, None, None] if is_linear else tensor
    return found


def _text_encoder(model: Path, vocabulary_size: int | None) -> dict[str, torch.Tensor]:
    config: dict[str, Any] = read_json(model / "text_encoder" / "config.json")
    if config.get("hidden_act") == "gelu":
        raise _stable_diffusion_2("text_encoder/config.json has hidden_act 'gelu': it is an OpenCLIP encoder")
    found = {}
    tensors = with_learned(model, "text_encoder", _tensors(model / "text_encoder"))
    for name, tensor in tensors.items():
        path = name if name.startswith("text_model.") else f"text_model.{name}"
        is_table = name.endswith("token_embedding.weight")
        found[f"cond_stage_model.transformer.{path}"] = tensor[:vocabulary_size] if is_table else tensor
    return found


def _stable_diffusion_2(evidence: str) -> LayoutError:
    return LayoutError(
        f"the model is built like Stable Diffusion 2 ({evidence}), whose single-file layout is not supported; use the "
        "pipeline folder, which diffusers and ComfyUI's DiffusersLoader read"
    )


def unet_key(name: str, layers: int, attended: list[bool]) -> str:
    """The original name of a diffusers U-Net tensor.

    Args:
        name: in diffusers' layout.
        layers: number of layers in each block.
        attended: for each up block, whether it has attention.

    Raises:
        LayoutError: the original layout has no such tensor.
    """
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
    """The original name of a tensor within a ResNet or attention block."""
    if kind == "attentions":
        return rest
    part, _, last = rest.rpartition(".")
    if part not in RESNET:
        raise LayoutError(f"the U-Net's tensor {rest} has no place in the original layout")
    return f"{RESNET[part]}.{last}"


def vae_key(name: str, levels: int) -> str:
    """The original name of a diffusers autoencoder tensor; `levels` is the number of resolutions.

    Raises:
        LayoutError: the original layout has no such tensor.
    """
    full_name = name
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
    match = re.match(r"(.+)mid_block\.attentions\.0\.(.+)\.(weight|bias)$", name)
    if match and match[2] in ATTENTION:
        name = f"{match[1]}mid.attn_1.{ATTENTION[match[2]]}.{match[3]}"
    if not AUTOENCODER.match(name) or "_block" in name:
        raise LayoutError(f"the autoencoder's tensor {full_name} has no place in the original layout")
    return name


def _tensors(component: Path) -> dict[str, torch.Tensor]:
    """All tensors of a component's weight files."""
    return {name: tensor for path in weight_files(component) for name, tensor in load_file(path).items()}
