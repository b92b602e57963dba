"""A reference picture: drawings take after what it shows (IP-Adapter, Ye et al. 2023, arXiv 2308.06721).

The adapter gives every cross-attention layer of the U-Net keys and values for a few tokens that it makes of the
picture's embedding.
"""

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from PIL.Image import Image

# How CLIP's pictures are prepared (Radford et al. 2021); repositories of IP-Adapters leave it to the loader.
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
DEVIATION = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


@dataclass(frozen=True)
class ReferenceAdapter:
    """An IP-Adapter's weights (`image_proj` and `ip_adapter`) and the image encoder that it was made for."""

    weights: dict[str, dict[str, torch.Tensor]]
    encoder: Any


@dataclass(frozen=True)
class Reference:
    """A reference picture (RGB), what reads it, and how strongly it counts; `origin` is what is kept of both."""

    picture: "Image"
    adapter: ReferenceAdapter
    scale: float
    origin: dict[str, Any] = field(default_factory=dict)


def load_reference_adapter(weights: Path, encoder: Path, dtype: torch.dtype, device: str) -> ReferenceAdapter:
    """Load an IP-Adapter from a .safetensors file and its image encoder from a folder.

    Raises:
        ValueError: the file holds no IP-Adapter, or one of both is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from transformers import CLIPVisionModelWithProjection

    parts: dict[str, dict[str, torch.Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    try:
        tensors = load_file(weights)
        model = CLIPVisionModelWithProjection.from_pretrained(encoder, local_files_only=True, use_safetensors=True)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"the IP-Adapter or its image encoder cannot be read ({_first(error)})") from None
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if part in parts:
            parts[part][rest] = tensor.to(dtype)
    if not all(parts.values()):
        raise ValueError(f"{weights.name} is no IP-Adapter: it needs tensors image_proj.* and ip_adapter.*")
    return ReferenceAdapter(parts, model.to(device, dtype).eval().requires_grad_(False))


class Referring:
    """What a reference adds to U-Nets while pictures are drawn: `adapted` U-Nets take what `arguments` gives."""

    def __init__(self, reference: Reference, unet: Any):
        self.reference = reference
        adapted = self.adapted(unet)
        (layer,) = adapted.encoder_hid_proj.image_projection_layers
        self.shown, self.nothing = self._embeddings(plain=type(layer).__name__ == "ImageProjection")
        try:
            layer(self.shown)
        except RuntimeError as error:
            raise ValueError(f"the IP-Adapter was made for another image encoder ({_first(error)})") from None

    def adapted(self, unet: Any) -> Any:
        """A copy of a U-Net with the adapter's layers.

        Raises:
            ValueError: the adapter was made for another base.
        """
        found = copy.deepcopy(unet)
        try:
            found._load_ip_adapter_weights([self.reference.adapter.weights], low_cpu_mem_usage=False)
        except (RuntimeError, KeyError) as error:
            raise ValueError(f"the IP-Adapter was made for another base ({_first(error)})") from None
        for processor in found.attn_processors.values():
            if hasattr(processor, "scale"):
                processor.scale = [self.reference.scale]
        return found.requires_grad_(False)

    def arguments(self, free: int, rows: int) -> dict[str, Any]:
        """Arguments of an adapted U-Net for `rows` latents, the first `free` of which have no prompt."""
        blank, shown = (part.expand(count, *part.shape[1:]) for part, count in (
            (self.nothing, free), (self.shown, rows - free)
        ))  # fmt: skip
        return {"added_cond_kwargs": {"image_embeds": [torch.cat([blank, shown])[:, None]]}}

    @torch.inference_mode()
    def _embeddings(self, plain: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """The picture's embedding and that of no picture: [1, dimensions], or hidden states [1, tokens, dimensions]."""
        encoder = self.reference.adapter.encoder
        side = int(encoder.config.image_size)
        pixels = np.asarray(self.reference.picture.convert("RGB").resize((side, side), 3), np.float32) / 255
        seen = torch.from_numpy((pixels - MEAN) / DEVIATION).permute(2, 0, 1)[None]
        seen = seen.to(encoder.device, encoder.dtype)
        if plain:
            found = encoder(seen).image_embeds
            return found, torch.zeros_like(found)
        shown, nothing = (encoder(one, output_hidden_states=True).hidden_states[-2] for one in (seen, seen * 0))
        return shown, nothing


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[-1].strip()
