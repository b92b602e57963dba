"""Attention that is fast in mixed precision on a CPU."""

from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention, AttnProcessor2_0


class Float32Processor:
    """The attention of a plain layer (see `is_plain`), computed in float32 between its projections.

    On a CPU with bfloat16 instructions matrix products are faster in bfloat16, but the backward pass of attention is
    several times slower than in float32.
    """

    def __call__(
        self, attn: Any, hidden_states: torch.Tensor, encoder_hidden_states: torch.Tensor | None = None, **rest: Any
    ) -> torch.Tensor:
        """Hidden states [batch, places, channels] after self-attention, or cross-attention to the encoder's states
        [batch, tokens, width].
        """
        if rest.get("attention_mask") is not None:
            return AttnProcessor2_0()(attn, hidden_states, encoder_hidden_states, **rest)
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        projected = attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context)
        heads = (one.float().unflatten(-1, (attn.heads, -1)).transpose(1, 2) for one in projected)
        with torch.autocast(hidden_states.device.type, enabled=False):
            attended = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        return attn.to_out[1](attn.to_out[0](attended.to(projected[0].dtype)))


def is_plain(layer: Attention) -> bool:
    """Whether a layer has nothing but projections and attention, as in Stable Diffusion's U-Net."""
    norms = layer.spatial_norm, layer.group_norm, layer.norm_q, layer.norm_k, layer.norm_cross
    ordinary = type(layer.processor) is AttnProcessor2_0 and not any(norms)
    return ordinary and not layer.residual_connection and layer.rescale_output_factor == 1


def prepare_attention(unet: Any, device: str, precision: str) -> None:
    """Set the attention processor that is fastest on `device` ("cpu", "cuda") in `precision`."""
    for module in unet.modules() if device == "cpu" and precision != "fp32" else ():
        if isinstance(module, Attention) and is_plain(module):
            module.processor = Float32Processor()
