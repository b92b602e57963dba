"""A U-Net that goes on with another autoencoder and text encoder: its layers are turned to their latents and states."""

import torch
from diffusers import AutoencoderKL
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

from pocket.loop import Pictures, mixed_precision
from pocket.recipe import HERE, Recipe
from pocket.text import encode
from pocket.vae import encode_all

PICTURES = 2000  # that both autoencoders encode, to find out how their latents correspond
CAPTIONS = 2000  # that both text encoders read


def rotation(old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """The orthogonal [channels, channels] with `old` nearest to `new @ rotation` in squares (Schoenemann 1966).

    Args:
        old, new: [samples, channels], of the same pictures.
    """
    left, _, right = torch.linalg.svd(new.double().T @ old.double())
    return (left @ right).float()


@torch.no_grad()
def rotate(unet: nn.Module, turn: torch.Tensor) -> None:
    """Make a U-Net for latents x of one that was for x @ turn: noise that is white stays white under a rotation."""
    first, last = unet.conv_in, unet.conv_out
    first.weight.copy_(torch.einsum("ji,oihw->ojhw", turn, first.weight))
    last.weight.copy_(torch.einsum("ji,ichw->jchw", turn, last.weight))
    last.bias.copy_(turn @ last.bias)


def turn_to(unet: nn.Module, recipe: Recipe, vae: AutoencoderKL, pictures: Pictures) -> None:
    """Turn the U-Net of the pocket that the recipe starts from to the latents of `vae`, in place."""
    assert recipe.start is not None
    before = AutoencoderKL.from_pretrained(HERE / recipe.start / "model" / "vae", dtype=torch.float32).eval()
    which = range(0, len(pictures), max(1, len(pictures) // PICTURES))
    with mixed_precision(recipe):
        old, new = (_flat(one.to(recipe.device), pictures, which, recipe.device) for one in (before, vae))
    turn = rotation(old, new)
    left = float((old - new @ turn).square().mean() / old.square().mean())
    print(f"latents of the autoencoder that it starts from: {left:.0%} of their squares are left after a rotation")
    rotate(unet, turn.to(unet.conv_in.weight))


def _flat(vae: AutoencoderKL, pictures: Pictures, which: range, device: str) -> torch.Tensor:
    found = encode_all(vae, pictures, which, device).float() * vae.config.scaling_factor
    return found.movedim(1, -1).flatten(0, 2)


@torch.no_grad()
def listen_to(
    unet: nn.Module, recipe: Recipe, encoder: CLIPTextModel, tokenizer: CLIPTokenizer, pictures: Pictures
) -> None:
    """Let the keys and values of the U-Net's cross-attention read `encoder`'s states as those of the one it knew."""
    assert recipe.start is not None
    before = CLIPTextModel.from_pretrained(HERE / recipe.start / "model" / "text_encoder", dtype=torch.float32)
    which = range(0, len(pictures), max(1, len(pictures) // CAPTIONS))
    tokens = encode(tokenizer, [pictures.facts[index]["captions"][0] for index in which]).to(recipe.device)
    old, new = (
        torch.cat([one(part).last_hidden_state.flatten(0, 1) for part in tokens.split(100)])
        for one in (before.to(recipe.device).eval(), encoder)
    )
    back = torch.linalg.lstsq(new.double(), old.double()).solution.float()
    left = float((old - new @ back).square().mean() / old.var(dim=0).mean())
    print(f"states of the text encoder that it starts from: {left:.0%} of their variance are left after a linear map")
    translate(unet, back)


@torch.no_grad()
def translate(unet: nn.Module, back: torch.Tensor) -> None:
    """Make a U-Net for text states s of one that was for s @ back: its keys and values read them so."""
    for name, weight in unet.named_parameters():
        if "attn2.to_k" in name or "attn2.to_v" in name:
            weight.copy_(weight @ back.T)
