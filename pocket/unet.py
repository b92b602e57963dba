"""The denoiser of pocket: Stable Diffusion's U-Net at a small size, trained on the latents of its world."""

import copy
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from pipeline.files import digest_file
from pocket.loop import Mixed, Pictures, begin_with, mixed_precision, train
from pocket.origin import TEXT, VAE, WORLD, facts_of, is_made, mark, origin, start_of
from pocket.recipe import Recipe
from pocket.start import listen_to, turn_to
from pocket.text import encode
from pocket.vae import encode_all


def build_unet(recipe: Recipe) -> UNet2DConditionModel:
    """Random weights; cross-attention on every level, as Stable Diffusion has it on all but the last."""
    levels = len(recipe.unet.channels)
    return UNet2DConditionModel(
        sample_size=recipe.size // 2 ** (len(recipe.vae.channels) - 1),
        in_channels=recipe.vae.latents,
        out_channels=recipe.vae.latents,
        down_block_types=("CrossAttnDownBlock2D",) * (levels - 1) + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * (levels - 1),
        block_out_channels=tuple(recipe.unet.channels),
        layers_per_block=recipe.unet.layers,
        attention_head_dim=tuple(channels // recipe.unet.head_dim for channels in recipe.unet.channels),
        cross_attention_dim=recipe.text.hidden,
        norm_num_groups=16,
    )


def noise_schedule() -> DDPMScheduler:
    """The schedule of Stable Diffusion v1.5: 1,000 steps, scaled linear betas from 0.00085 to 0.012."""
    return DDPMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        steps_offset=1,
    )


def snr_weights(
    alphas_cumprod: torch.Tensor, timesteps: torch.Tensor, gamma: float, floor: float = 0.0
) -> torch.Tensor:
    """min(SNR, gamma) / SNR for epsilon prediction (Hang et al. 2023, arXiv 2303.09556), [batch].

    With a `floor`, max(floor, min(SNR, gamma)) / SNR: what is noise alone counts more, where pictures get their layout.
    """
    alpha = alphas_cumprod[timesteps]
    snr = alpha / (1 - alpha)
    return snr.clamp(min=floor, max=gamma) / snr


def train_unet(recipe: Recipe, work: Path) -> None:
    """Epsilon prediction with min-SNR weights and empty captions; the text encoder stays as it is."""
    pictures = Mixed.open(recipe, work)
    tokenizer = CLIPTokenizer.from_pretrained(work / "clip")
    text_encoder = CLIPTextModel.from_pretrained(work / "text").to(recipe.device).requires_grad_(False).eval()
    latents = _latents(recipe, work, pictures.world, "latents")
    photograph_latents = _latents(recipe, work, pictures.photographs, "photograph-latents")
    torch.manual_seed(3)
    unet = build_unet(recipe).to(recipe.device)
    if begin_with(unet, recipe, "unet"):
        vae = AutoencoderKL.from_pretrained(work / "vae").to(recipe.device).eval()
        turn_to(unet, recipe, vae, pictures.world)
        listen_to(unet, recipe, text_encoder, tokenizer, pictures.world)
    ema = copy.deepcopy(unet).requires_grad_(False)
    run_unet = torch.compile(unet) if recipe.compile else unet
    schedule = noise_schedule()
    alphas = schedule.alphas_cumprod.to(recipe.device)

    def loss_at(number: int) -> dict[str, torch.Tensor]:
        rows, taken = pictures.rows_at(number, recipe.unet.batch, recipe.unet.photographs, seed=3)
        rng = np.random.default_rng([3, number])
        generator = torch.Generator().manual_seed(number * 7919 + 3)
        clean = torch.cat([latents[torch.from_numpy(rows)], photograph_latents[torch.from_numpy(taken)]]).float()
        noise = torch.randn(clean.shape, generator=generator).to(recipe.device)
        timesteps = torch.randint(0, 1000, (len(clean),), generator=generator).to(recipe.device)
        noisy = schedule.add_noise(clean.to(recipe.device), noise, timesteps)
        captions = pictures.world.texts(rows, rng) + pictures.photographs.texts(taken, rng)
        texts = ["" if rng.random() < recipe.unet.empty_captions else text for text in captions]
        with mixed_precision(recipe):
            with torch.no_grad():
                states = text_encoder(encode(tokenizer, texts).to(recipe.device)).last_hidden_state
            predicted = run_unet(noisy, timesteps, states).sample
        errors = F.mse_loss(predicted.float(), noise, reduction="none").mean(dim=(1, 2, 3))
        weights = snr_weights(alphas, timesteps, recipe.unet.snr_gamma, recipe.unet.snr_floor)
        return {"loss": (weights * errors).mean(), "error": errors.mean()}

    made_from = origin(recipe, "unet", work, (*WORLD, VAE, TEXT), start_of(recipe, "unet"))
    train(unet, loss_at, recipe.unet, work / "unet", "unet", made_from, ema, recipe.unet.ema)
    ema.save_pretrained(work / "unet")


def _latents(recipe: Recipe, work: Path, pictures: Pictures, name: str) -> torch.Tensor:
    """Scaled latents of a whole set of pictures, encoded once: float16 [pictures, latents, h, w]."""
    path = work / "unet" / f"{name}.npy"
    made_from = facts_of({file: digest_file(work / file) for file in (VAE, *WORLD)})
    if not is_made(path, made_from):
        mark(path, made_from)
        vae = AutoencoderKL.from_pretrained(work / "vae").to(recipe.device).eval()
        with mixed_precision(recipe):  # bfloat16 moves latents by less than the noise of their posterior
            found = encode_all(vae, pictures, range(len(pictures)), recipe.device) * vae.config.scaling_factor
        part = path.with_suffix(".part.npy")
        np.save(part, found.numpy())
        part.rename(path)
    return torch.from_numpy(np.load(path))


if __name__ == "__main__":
    from pocket.stages import run

    run(train_unet)
