"""How much GPU memory a training takes, computed without a GPU.

A forward and a backward pass run on fake tensors (shapes without content); all storages are counted as they are
created and freed. CUDA's context and the allocator's fragmentation come on top.
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
from pipeline.params import Preview, Train
from pipeline.training.captions import limit_tokenizer
from pipeline.training.muon import is_matrix
from pipeline.training.precision import frozen_precision, narrow_frozen_weights
from pipeline.training.steps import frozen_copy
from pipeline.training.trainable import Trainable, select_trainable
from pipeline.training.validation import BATCH, LEVELS

BLOCK, SMALL = 256, 4096  # bitsandbytes: elements that share a scale; smaller parameters have float32 states


@dataclass(frozen=True)
class Estimate:
    """Bytes of GPU memory by use; all fields and `peak` are in bytes."""

    weights: int
    gradients: int
    optimizer: int
    average: int
    activations: int
    encoding: int
    validation: int = 0
    drawing: int = 0

    @property
    def kept(self) -> int:
        """What is there all the time."""
        return self.weights + self.optimizer + self.average

    @property
    def training(self) -> int:
        """The most at once without previews: in a training step; while a photo is encoded, before there are gradients
        and states; or between two steps, when there are no gradients, for the loss on held-out photos.

        Candidates and checkpoints take nothing: their tensors leave the GPU one at a time.
        """
        step = self.kept + self.gradients + self.activations
        return max(step, self.weights + self.encoding, self.kept + self.validation)

    @property
    def previews(self) -> int:
        """The most at once while previews are drawn, between two steps; 0: none are."""
        return self.kept + self.drawing if self.drawing else 0

    @property
    def peak(self) -> int:
        """The most at once."""
        return max(self.training, self.previews)


def estimate_memory(
    base: Path,
    params: Train,
    side: int,
    class_images: bool,
    token: str,
    heldout: int = 0,
    preview: Preview | None = None,
) -> Estimate:
    """Memory of a run on one GPU in the run's precision, for square photos of `side` pixels.

    Args:
        base: the pipeline folder.
        params: of the training.
        side: of the photos, in pixels.
        class_images: whether there are any.
        token: the placeholder token.
        heldout: number of photos held out.
        preview: pictures drawn between steps; None: none are.

    Raises:
        TargetError: `lora.targets` do not fit the U-Net.
        TokenError: the placeholder token cannot be learned on this base.
    """
    with torch.device("meta"):
        parts = _parts(base)
        limit_tokenizer(parts)
        frozen_unet = frozen_copy(parts.unet, params) if class_images else None
        trainable = select_trainable(parts, token, params)
    if params.gradient_checkpointing:
        parts.unet.enable_gradient_checkpointing()
    modules = [parts.unet.train(), parts.text_encoder, *([frozen_unet] if frozen_unet is not None else [])]
    trained = [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]
    images = params.batch * (2 if class_images and not params.ignores_class_images else 1)
    with FakeTensorMode():
        for module in (*modules, parts.vae):
            _make_fake(module)
        narrow_frozen_weights(modules, frozen_precision(params))
        encoding = _encoding(parts, side)
        validated = min(BATCH, heldout * len(LEVELS)) if params.validate_every else 0
        validation = _forward(parts, validated, side, params.precision) if validated else 0
        drawing = _drawing(parts, params.precision, preview) if preview is not None and preview.every else 0
        with LiveBytes() as live:
            _step(parts, images, side, params.precision, trainable.token is not None or trainable.trains_text_encoder)
    gradients = sum(parameter.nbytes for parameter in trained)
    return Estimate(
        weights=sum(_bytes(module) for module in modules),
        gradients=gradients,
        optimizer=sum(state_bytes(parameter.shape, params.optimizer) for parameter in trained),
        average=gradients if params.ema else 0,
        activations=max(0, live.peak - gradients),
        encoding=encoding,
        validation=validation,
        drawing=drawing,
    )


def trainable_without_weights(base: Path, token: str, params: Train) -> tuple[Parts, Trainable]:
    """The parts of a pipeline folder with what a training learns, as shapes without content.

    Raises:
        TargetError: `lora.targets` do not fit the U-Net.
        TokenError: the placeholder token cannot be learned on this base.
    """
    with torch.device("meta"):
        parts = _parts(base)
        return parts, select_trainable(parts, token, params)


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of storages created within the context and not yet freed; `peak` is the most at once."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        inputs: list[int] = []
        tree_map_only(torch.Tensor, lambda tensor: inputs.append(id(tensor.untyped_storage())), (args, kwargs))
        found = func(*args, **(kwargs or {}))
        tree_map_only(torch.Tensor, lambda tensor: self._track(tensor, inputs), found)
        return found

    def _track(self, tensor: torch.Tensor, inputs: list[int]) -> None:
        storage = tensor.untyped_storage()
        if id(storage) in self.known or id(storage) in inputs:  # a view, or an in-place result
            return
        self.known.add(id(storage))
        size = storage.nbytes()
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._release, id(storage), size)

    def _release(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.live -= size


def _parts(base: Path) -> Parts:
    """The parts of a pipeline folder built from their configurations, without reading weights."""
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    return Parts(
        tokenizer=CLIPTokenizer.from_pretrained(base / "tokenizer", local_files_only=True),
        text_encoder=CLIPTextModel(CLIPTextConfig.from_pretrained(base / "text_encoder")),
        vae=AutoencoderKL.from_config(AutoencoderKL.load_config(base / "vae")).eval(),
        unet=UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(base / "unet")),
        schedule=DDPMScheduler.from_pretrained(base / "scheduler", local_files_only=True),
    )


def _make_fake(module: torch.nn.Module) -> None:
    """Replace a module's parameters and buffers by fake tensors."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                fake = torch.empty(parameter.shape, dtype=parameter.dtype)
                part._parameters[name] = torch.nn.Parameter(fake, requires_grad=parameter.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = torch.zeros(buffer.shape, dtype=buffer.dtype)


def _encoding(parts: Parts, side: int) -> int:
    """Bytes of the VAE and of encoding one photo with it."""
    with torch.no_grad(), LiveBytes() as live:
        parts.vae.encode(torch.zeros(1, 3, side, side))
    return live.peak + _bytes(parts.vae)


def _forward(parts: Parts, images: int, side: int, precision: str) -> int:
    """Bytes of a forward pass without gradients over `images` samples."""
    place = side // 2 ** (len(parts.vae.config.block_out_channels) - 1)
    shape = images, parts.tokenizer.model_max_length, parts.unet.config.cross_attention_dim
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision != "fp32"), LiveBytes() as live:
        latents = torch.zeros(images, parts.unet.config.in_channels, place, place)
        parts.unet(latents, torch.zeros(images, dtype=torch.long), torch.zeros(shape))
    return live.peak


def _drawing(parts: Parts, precision: str, preview: Preview) -> int:
    """Bytes of the VAE, of one denoising step with guidance, and of decoding the pictures of one batch."""
    count = min(preview.draw.batch, len(preview.prompts))
    place, channels = parts.unet.config.sample_size, parts.unet.config.in_channels
    shape = 2 * count, parts.tokenizer.model_max_length, parts.unet.config.cross_attention_dim
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision != "fp32"), LiveBytes() as live:
        states, latents = torch.zeros(shape), torch.zeros(2 * count, channels, place, place)
        parts.unet(latents, torch.zeros(2 * count, dtype=torch.long), states)
        parts.vae.decode(latents[:count])
    return live.peak + _bytes(parts.vae)


def _step(parts: Parts, images: int, side: int, precision: str, train_text: bool) -> None:
    """A forward and a backward pass over `images` samples."""
    place = side // 2 ** (len(parts.vae.config.block_out_channels) - 1)
    ids = torch.zeros(images, parts.tokenizer.model_max_length, dtype=torch.long)
    for module in (*parts.unet.modules(), *parts.text_encoder.modules()):
        if isinstance(module, torch.nn.GroupNorm | torch.nn.LayerNorm):  # autocast on a GPU computes these in float32
            module.register_forward_pre_hook(lambda _, inputs: (inputs[0].float(), *inputs[1:]))
    with torch.autocast("cpu", torch.bfloat16, enabled=precision != "fp32"):
        with torch.set_grad_enabled(train_text):
            states = parts.text_encoder(ids).last_hidden_state
        predicted = parts.unet(
            torch.zeros(images, parts.unet.config.in_channels, place, place),
            torch.zeros(images, dtype=torch.long),
            states,
        ).sample
    F.mse_loss(predicted.float(), torch.zeros_like(predicted, dtype=torch.float32)).backward()


def _bytes(module: torch.nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))


def state_bytes(shape: torch.Size, optimizer: str) -> int:
    """Bytes of an optimizer's states for one float32 parameter."""
    count = shape.numel()
    if optimizer == "adamw-8bit" and count >= SMALL:
        return 2 * count + 2 * 4 * -(-count // BLOCK)
    if optimizer == "adafactor" and len(shape) > 1:
        return 4 * (count // shape[-1] + count // shape[-2])
    if optimizer == "muon" and is_matrix(shape):
        return 4 * count
    return {"prodigy": 16, "adafactor": 4}.get(optimizer, 8) * count
