"""How much GPU memory a training takes, computed without a GPU.

The run's own code takes one step on tensors that have shapes but no content, and every storage that comes and goes is
counted. What a GPU needs beside that (its context, fragments between the blocks) is not in the figure.
"""

import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from pipeline.base.components import Parts
from pipeline.params import Train
from pipeline.training.precision import Narrowed, frozen_precision
from pipeline.training.steps import frozen_copy
from pipeline.training.trainable import choose_learned

BLOCK, SMALL = 256, 4096  # of bitsandbytes: elements that share a scale; smaller parameters keep float32 states


@dataclass(frozen=True)
class Estimate:
    """Bytes, by what they are for; `peak` is what is there at once at most."""

    weights: int
    gradients: int
    optimizer: int
    average: int
    activations: int
    encoding: int

    @property
    def peak(self) -> int:
        """The larger of a training step and of encoding a photo, which comes before gradients and optimizer."""
        step = self.weights + self.gradients + self.optimizer + self.average + self.activations
        return max(step, self.weights + self.encoding)


def estimate_memory(base: Path, params: Train, side: int, class_images: bool, token: str) -> Estimate:
    """Memory of a run on one GPU in the run's precision, for square photos of `side` pixels."""
    with torch.device("meta"):
        parts = _parts(base)
        kept = frozen_copy(parts.unet, params) if class_images else None
        learned = choose_learned(parts, token, params)
    if params.gradient_checkpointing:
        parts.unet.enable_gradient_checkpointing()
    modules = [parts.unet.train(), parts.text_encoder, *([kept] if kept is not None else [])]
    moving = [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]
    images = params.batch * (2 if class_images and params.method != "textual-inversion" else 1)
    with FakeTensorMode():
        for module in (*modules, parts.vae):
            _without_content(module)
        Narrowed(modules, frozen_precision(params))
        encoding = _encoding(parts, side)
        with LiveBytes() as live:
            _step(parts, images, side, params.precision, learned.token is not None or learned.text_changes)
    gradients = sum(parameter.nbytes for parameter in moving)
    return Estimate(
        weights=sum(_bytes(module) for module in modules),
        gradients=gradients,
        optimizer=sum(_states(parameter.shape, params.optimizer) for parameter in moving),
        average=gradients if params.ema else 0,
        activations=max(0, live.peak - gradients),
        encoding=encoding,
    )


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of storages that were made inside and are still there; `peak` is the most at once."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        inputs: list[int] = []
        tree_map_only(torch.Tensor, lambda tensor: inputs.append(id(tensor.untyped_storage())), (args, kwargs))
        found = func(*args, **(kwargs or {}))
        tree_map_only(torch.Tensor, lambda tensor: self._see(tensor, inputs), found)
        return found

    def _see(self, tensor: torch.Tensor, inputs: list[int]) -> None:
        storage = tensor.untyped_storage()
        if id(storage) in self.known or id(storage) in inputs:  # a view, or written in place
            return
        self.known.add(id(storage))
        size = storage.nbytes()
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._gone, id(storage), size)

    def _gone(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.live -= size


def _parts(base: Path) -> Parts:
    """The parts of a pipeline folder by their configurations; no weights are read."""
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    return Parts(
        tokenizer=CLIPTokenizer.from_pretrained(base / "tokenizer", local_files_only=True),
        text_encoder=CLIPTextModel(CLIPTextConfig.from_pretrained(base / "text_encoder")),
        vae=AutoencoderKL.from_config(AutoencoderKL.load_config(base / "vae")).eval(),
        unet=UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(base / "unet")),
        schedule=DDPMScheduler.from_pretrained(base / "scheduler", local_files_only=True),
    )


def _without_content(module: torch.nn.Module) -> None:
    """Put fake tensors, which count as if they were on a device, in the place of a module's parameters and buffers."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                fake = torch.empty(parameter.shape, dtype=parameter.dtype)
                part._parameters[name] = torch.nn.Parameter(fake, requires_grad=parameter.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = torch.zeros(buffer.shape, dtype=buffer.dtype)


def _encoding(parts: Parts, side: int) -> int:
    with torch.no_grad(), LiveBytes() as live:
        parts.vae.encode(torch.zeros(1, 3, side, side))
    return live.peak + _bytes(parts.vae)


def _step(parts: Parts, images: int, side: int, precision: str, moving: bool) -> None:
    place = side // 2 ** (len(parts.vae.config.block_out_channels) - 1)
    ids = torch.zeros(images, parts.tokenizer.model_max_length, dtype=torch.long)
    for module in (*parts.unet.modules(), *parts.text_encoder.modules()):
        if isinstance(module, torch.nn.GroupNorm | torch.nn.LayerNorm):  # a GPU's autocast does these in float32
            module.register_forward_pre_hook(lambda _, inputs: (inputs[0].float(), *inputs[1:]))
    with torch.autocast("cpu", torch.bfloat16, enabled=precision != "fp32"):
        with torch.set_grad_enabled(moving):
            states = parts.text_encoder(ids).last_hidden_state
        predicted = parts.unet(
            torch.zeros(images, parts.unet.config.in_channels, place, place),
            torch.zeros(images, dtype=torch.long),
            states,
        ).sample
    F.mse_loss(predicted.float(), torch.zeros_like(predicted, dtype=torch.float32)).backward()


def _bytes(module: torch.nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))


def _states(shape: torch.Size, optimizer: str) -> int:
    """Bytes that an optimizer keeps for one float32 parameter."""
    count = shape.numel()
    if optimizer == "adamw-8bit" and count >= SMALL:
        return 2 * count + 2 * 4 * -(-count // BLOCK)
    if optimizer == "adafactor" and len(shape) > 1:
        return 4 * (count // shape[-1] + count // shape[-2])
    return {"prodigy": 16, "adafactor": 4}.get(optimizer, 8) * count
