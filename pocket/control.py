"""Pocket's control adapter: a small T2I-Adapter that makes pictures follow a silhouette.

It learns from compositions of pocket's world, drawn on the way, whose silhouettes are known; the U-Net stays as it is
(Mou et al. 2023, arXiv 2302.08453).
"""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, T2IAdapter, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from pipeline.evaluation.outline_network import load_outliner, outlines_of, overlaps
from pocket.loop import mixed_precision, train
from pocket.origin import SPRITES, TEXT, UNET, VAE, origin
from pocket.outline import Outlined, outlined
from pocket.recipe import Recipe
from pocket.text import encode
from pocket.unet import noise_schedule
from pocket.world import World, load_sprites

TRAINING, TRIAL = 41, 42  # seeds of the compositions
TRIED, STEPS, GUIDANCE = 60, 12, 3.0  # pictures behind the figure, and how they are drawn


def build_control(recipe: Recipe) -> T2IAdapter:
    """Random weights; one channel in, the U-Net's channels out."""
    return T2IAdapter(
        adapter_type="full_adapter",
        in_channels=1,
        channels=list(recipe.unet.channels),
        num_res_blocks=recipe.control.layers,
        downscale_factor=2 ** (len(recipe.vae.channels) - 1),
    )


def train_control(recipe: Recipe, work: Path) -> None:
    """Epsilon prediction through the frozen U-Net, mostly in the noisy steps, in which the layout forms."""
    unet, vae, tokenizer, text_encoder = _frozen(recipe, work)
    world = World(load_sprites(work / "world" / "sprites.npz"), recipe.world.toy_share)
    torch.manual_seed(5)
    adapter = build_control(recipe).to(recipe.device)
    schedule = noise_schedule()

    def loss_at(number: int) -> dict[str, torch.Tensor]:
        shown = outlined(world, TRAINING, number, recipe.control.batch, recipe.size)
        generator = torch.Generator().manual_seed(number * 7919 + 5)
        rng = np.random.default_rng([5, number])
        texts = ["" if rng.random() < recipe.unet.empty_captions else text for text in shown.captions]
        with mixed_precision(recipe), torch.no_grad():
            clean = vae.encode(shown.pixels.to(recipe.device)).latent_dist.mode() * vae.config.scaling_factor
            states = text_encoder(encode(tokenizer, texts).to(recipe.device)).last_hidden_state
        clean = clean.float().cpu()
        noise = torch.randn(clean.shape, generator=generator)
        early = 1 - torch.rand(len(clean), generator=generator) ** 3
        timesteps = (early * 1000).long().clamp(0, 999)
        noisy = schedule.add_noise(clean, noise, timesteps).to(recipe.device)
        with mixed_precision(recipe):
            features = adapter(shown.outlines.to(recipe.device))
            predicted = unet(
                noisy, timesteps.to(recipe.device), states, down_intrablock_additional_residuals=list(features)
            ).sample
        error = F.mse_loss(predicted.float().cpu(), noise)
        return {"loss": error}

    folder = work / "control"
    made_from = origin(recipe, "control", work, [SPRITES, VAE, UNET, TEXT], recipe.world.toy_share)
    train(adapter, loss_at, recipe.control, folder, "control", made_from)
    adapter.half().save_pretrained(folder)
    adapter.float()
    figures = measure(recipe, work, adapter)
    (folder / "control.json").write_text(json.dumps(figures) + "\n")


def measure(recipe: Recipe, work: Path, adapter: T2IAdapter) -> dict[str, float]:
    """How well drawings follow silhouettes of compositions that were never trained on.

    Returns:
        `overlap` (intersection over union of the silhouette asked for and the one that the instrument of
        `pocket/outline.py` sees in the drawing), `without` (the same drawings without the adapter), and `instrument`
        (how well that network does on compositions themselves).
    """
    outliner, world = (
        load_outliner(work / "outline" / "outline.safetensors"),
        World(load_sprites(work / "world" / "sprites.npz"), recipe.world.toy_share),
    )
    shown = outlined(world, TRIAL, 0, TRIED, recipe.size)
    parts = _frozen(recipe, work)
    found = {}
    for name, net in (("overlap", adapter.eval()), ("without", None)):
        seen = outlines_of(outliner, draw(recipe, parts, shown, net))
        found[name] = round(float(overlaps(seen, shown.outlines).mean()), 4)
    instrument = json.loads((work / "outline" / "outline.json").read_text())["overlap"]
    return {"tried": TRIED, **found, "instrument": instrument}


@torch.no_grad()
def draw(recipe: Recipe, parts: tuple, shown: Outlined, adapter: T2IAdapter | None, seed: int = 7) -> torch.Tensor:
    """A drawing of each composition's caption that follows its silhouette: [n, 3, size, size] in -1..1."""
    from diffusers import DDIMScheduler

    unet, vae, tokenizer, text_encoder = parts
    scheduler = DDIMScheduler.from_config(noise_schedule().config, set_alpha_to_one=False)
    scheduler.set_timesteps(STEPS)
    latents = torch.randn(
        (len(shown.captions), unet.config.in_channels, *[unet.config.sample_size] * 2),
        generator=torch.Generator().manual_seed(seed),
    ).to(recipe.device)
    texts = [*[""] * len(shown.captions), *shown.captions]
    states = text_encoder(encode(tokenizer, texts).to(recipe.device)).last_hidden_state
    features = [torch.cat([part] * 2) for part in adapter(shown.outlines.to(recipe.device))] if adapter else None
    for time in scheduler.timesteps:
        added = {"down_intrablock_additional_residuals": list(features)} if features else {}
        free, asked = unet(torch.cat([latents] * 2), time, states, **added).sample.chunk(2)
        latents = scheduler.step(free + GUIDANCE * (asked - free), time, latents, return_dict=False)[0]
    return vae.decode(latents / vae.config.scaling_factor).sample.clamp(-1, 1).float().cpu()


def _frozen(recipe: Recipe, work: Path) -> tuple:
    """U-Net, VAE, tokenizer and text encoder, as they were trained."""
    unet = UNet2DConditionModel.from_pretrained(work / "unet")
    vae = AutoencoderKL.from_pretrained(work / "vae")
    text_encoder = CLIPTextModel.from_pretrained(work / "text")
    frozen = [part.float().to(recipe.device).requires_grad_(False).eval() for part in (unet, vae, text_encoder)]
    return frozen[0], frozen[1], CLIPTokenizer.from_pretrained(work / "clip"), frozen[2]


if __name__ == "__main__":
    from pocket.stages import run

    run(train_control)
