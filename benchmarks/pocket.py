"""The figures of pocket's model card, on compositions it was not trained on: `python -m benchmarks.pocket`.

Needs the world: `python -m pocket.world` makes it (a few minutes; npm brings the drawings).
"""

import json
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from transformers import CLIPModel, CLIPTokenizer

from pipeline.environment import prepare_environment
from pocket.clip import normalized
from pocket.loop import Pictures, chunks
from pocket.recipe import HERE
from pocket.text import encode

AMONG = 100


@torch.inference_mode()
def reconstruction(pictures: Pictures) -> float:
    """Mean over pictures of the PSNR in dB of the VAE's reconstruction from the latent mean (values 0..255)."""
    vae = AutoencoderKL.from_pretrained(HERE / "model" / "vae", dtype=torch.float32)
    found = []
    for part in chunks(len(pictures), 50):
        pixels = pictures.batch(np.array(part), "cpu")
        drawn = vae.decode(vae.encode(pixels).latent_dist.mean).sample.clamp(-1, 1)
        error = (drawn - pixels).square().mean(dim=(1, 2, 3))
        found += (10 * torch.log10(4 / error)).tolist()
    return float(np.mean(found))


@torch.inference_mode()
def retrieval(pictures: Pictures) -> float:
    """Share of pictures whose own caption is the nearest of 100, over consecutive hundreds."""
    model = CLIPModel.from_pretrained(HERE / "clip")
    tokenizer = CLIPTokenizer.from_pretrained(HERE / "clip")
    hits = []
    for part in chunks(len(pictures), AMONG):
        pixels = pictures.batch(np.array(part), "cpu")
        texts = [pictures.facts[index]["captions"][0] for index in part]
        out = model.float()(input_ids=encode(tokenizer, texts), pixel_values=normalized(pixels))
        hits += (out.logits_per_image.argmax(1) == torch.arange(len(part))).tolist()
    return float(np.mean(hits))


@torch.inference_mode()
def subject_reconstruction(folder: Path) -> float:
    """The same PSNR for the sample photos, which are of another world."""
    vae = AutoencoderKL.from_pretrained(HERE / "model" / "vae", dtype=torch.float32)
    found = []
    for path in sorted(folder.glob("*.jpg")):
        with Image.open(path) as photo:
            small = np.asarray(photo.convert("RGB").resize((64, 64), Image.Resampling.LANCZOS), np.float32)
        pixels = torch.from_numpy(small).permute(2, 0, 1)[None] / 127.5 - 1
        drawn = vae.decode(vae.encode(pixels).latent_dist.mean).sample.clamp(-1, 1)
        found.append(10 * np.log10(4 / float((drawn - pixels).square().mean())))
    return float(np.mean(found))


def main() -> None:
    """Print the figures as JSON."""
    prepare_environment()
    pictures = Pictures(HERE / "work" / "world" / "heldout")
    figures = {
        "pictures": len(pictures),
        "vae_psnr_db": round(reconstruction(pictures), 2),
        "vae_psnr_db_sample_photos": round(subject_reconstruction(HERE.parent / "data"), 2),
        f"clip_caption_among_{AMONG}": round(retrieval(pictures), 3),
    }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
