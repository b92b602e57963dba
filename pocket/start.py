"""A U-Net that goes on with another autoencoder: its first and last layer are turned to the new latents."""

import torch
from diffusers import AutoencoderKL
from torch import nn

from pocket.loop import Pictures
from pocket.recipe import HERE, Recipe
from pocket.vae import encode_all

PICTURES = 2000  # that both autoencoders encode, to find out how their latents correspond


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
    old, new = (_flat(one.to(recipe.device), pictures, which, recipe.device) for one in (before, vae))
    turn = rotation(old, new)
    left = float((old - new @ turn).square().mean() / old.square().mean())
    print(f"latents of the autoencoder that it starts from: {left:.0%} of their squares are left after a rotation")
    rotate(unet, turn.to(unet.conv_in.weight))


def _flat(vae: AutoencoderKL, pictures: Pictures, which: range, device: str) -> torch.Tensor:
    found = encode_all(vae, pictures, which, device).float() * vae.config.scaling_factor
    return found.movedim(1, -1).flatten(0, 2)
