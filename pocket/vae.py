"""The autoencoder of pocket: Stable Diffusion's architecture, fewer channels, a quarter of each side."""

import copy
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from tqdm import tqdm

from pocket.loop import Mixed, Pictures, begin_with, chunks, mixed_precision, train
from pocket.origin import WORLD, origin, start_of
from pocket.recipe import Recipe


def build_vae(recipe: Recipe) -> AutoencoderKL:
    """Random weights; latents are [batch, latents, size / f, size / f] with f = 2^(levels - 1)."""
    levels = len(recipe.vae.channels)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=tuple(recipe.vae.channels),
        layers_per_block=recipe.vae.layers,
        latent_channels=recipe.vae.latents,
        norm_num_groups=min(16, *recipe.vae.channels),
        sample_size=recipe.size,
    )


def edges(picture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Differences of neighbouring pixels, along rows and along columns."""
    return picture[..., 1:] - picture[..., :-1], picture[..., 1:, :] - picture[..., :-1, :]


def train_vae(recipe: Recipe, work: Path) -> None:
    """Squared error, absolute error of edges (for thin structures) and a small KL term; then the latents' scale."""
    pictures = Mixed.open(recipe, work)
    torch.manual_seed(2)
    vae = build_vae(recipe).to(recipe.device)
    begin_with(vae, recipe, "vae")
    ema = copy.deepcopy(vae).requires_grad_(False)

    def loss_at(number: int) -> dict[str, torch.Tensor]:
        rows, taken = pictures.rows_at(number, recipe.vae.batch, recipe.vae.photographs, seed=2)
        parts = (pictures.world, rows), (pictures.photographs, taken)
        pixels = torch.cat([part.batch(which, recipe.device, flip=bool(number % 2)) for part, which in parts])
        with mixed_precision(recipe):
            posterior = vae.encode(pixels).latent_dist
            noise = torch.Generator().manual_seed(number * 7919 + 2)
            drawn = vae.decode(posterior.sample(noise)).sample.float()
        squared = F.mse_loss(drawn, pixels)
        edge = sum(F.l1_loss(a, b) for a, b in zip(edges(drawn), edges(pixels), strict=True))
        loss = 4 * squared + recipe.vae.edge * edge + recipe.vae.kl * posterior.kl().mean()
        return {"loss": loss, "psnr": -10 * torch.log10(squared.detach() / 4)}

    made_from = origin(recipe, "vae", work, WORLD, start_of(recipe, "vae"))
    train(vae, loss_at, recipe.vae, work / "vae", "vae", made_from, ema, recipe.vae.ema)
    ema.eval()
    some = range(0, len(pictures.world), max(1, len(pictures.world) // 2000))
    with mixed_precision(recipe):
        latents = encode_all(ema, pictures.world, some, recipe.device)
    ema.register_to_config(scaling_factor=round(1 / float(latents.std()), 5))
    ema.save_pretrained(work / "vae")


@torch.no_grad()
def encode_all(vae: AutoencoderKL, pictures: Pictures, which: range, device: str) -> torch.Tensor:
    """Posterior means of the pictures in `which`, float16 [len(which), latents, h, w], unscaled."""
    found = []
    for part in tqdm(list(chunks(len(which), 16)), desc="latents", mininterval=5):
        pixels = pictures.batch(np.array([which[index] for index in part]), device)
        found.append(vae.encode(pixels).latent_dist.mean.half().cpu())
    with torch.autocast(device, enabled=False):  # on a CPU it takes no float16, not even to join it
        return torch.cat(found)


if __name__ == "__main__":
    from pocket.stages import run

    run(train_vae)
