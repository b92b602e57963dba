"""The figures of pocket's model card, on compositions it was not trained on: `python -m benchmarks.pocket`.

Needs the world that `make pocket` made, in `--work pocket/work/RECIPE` (by default that of the recipe that
pocket/params.yaml uses); `python -m pocket.world --work pocket/work/RECIPE` makes it alone in a few minutes (npm brings
the drawings). With `--grid FILE.png` the first of the drawn pictures are kept as one sheet.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
import yaml
from diffusers import AutoencoderKL
from PIL import Image, ImageDraw, ImageFont
from transformers import CLIPModel, CLIPTokenizer

from pipeline.base.resolve import native_size
from pipeline.environment import prepare_environment
from pipeline.evaluation.aspect_classifier import Judge, Verdict, judge_pictures
from pipeline.sampling.sampler import Request, Sampler
from pocket.clip import normalized
from pocket.loop import Pictures, chunks
from pocket.recipe import HERE
from pocket.scenes import SCENES
from pocket.text import encode
from pocket.vae import encode_all

AMONG, PROMPTS, FIRST = 100, 300, 5
SPREAD = 300  # pictures whose latents are looked at
STEPS, GUIDANCE = 20, 4.0


@torch.inference_mode()
def reconstruction(pictures: Pictures, vae: AutoencoderKL) -> float:
    """Mean over pictures of the PSNR in dB of the VAE's reconstruction from the latent mean (values 0..255)."""
    found = []
    for part in chunks(len(pictures), 50):
        pixels = pictures.batch(np.array(part), "cpu")
        drawn = vae.decode(vae.encode(pixels).latent_dist.mean).sample.clamp(-1, 1)
        error = (drawn - pixels).square().mean(dim=(1, 2, 3))
        found += (10 * torch.log10(4 / error)).tolist()
    return float(np.mean(found))


@torch.inference_mode()
def spread(latents: torch.Tensor) -> list[float]:
    """Eigenvalues of the covariance of the channels of latents [n, channels, h, w], divided by their mean, falling.

    All 1 where every channel carries as much as any other one; 0 for each that carries nothing, or what others say.
    """
    found = torch.linalg.eigvalsh(torch.cov(latents.movedim(1, 0).flatten(1).double())).flip(0)
    return [float(value / found.mean()) for value in found]


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
def subject_reconstruction(folder: Path, vae: AutoencoderKL, size: int) -> float:
    """The same PSNR for the sample photos, which are of another world, at `size` pixels.

    Raises:
        SystemExit: the folder holds none.
    """
    paths = sorted(folder.glob("*.jpg"))
    if not paths:
        raise SystemExit(f"{folder} holds no photos (*.jpg); `make data` brings the sample's")
    found = []
    for path in paths:
        with Image.open(path) as photo:
            small = np.asarray(photo.convert("RGB").resize((size, size), Image.Resampling.LANCZOS), np.float32)
        pixels = torch.from_numpy(small).permute(2, 0, 1)[None] / 127.5 - 1
        drawn = vae.decode(vae.encode(pixels).latent_dist.mean).sample.clamp(-1, 1)
        found.append(10 * np.log10(4 / float((drawn - pixels).square().mean())))
    return float(np.mean(found))


def random_prompts(pictures: Pictures, count: int) -> list[dict]:
    """Facts of the first `count` compositions with an object and a caption that names the scene, as their `prompt`."""
    found = []
    for facts in pictures.facts:
        phrases = SCENES[facts["scene"]].phrases
        named = [text for text in facts["captions"] if any(phrase in text for phrase in phrases)]
        if facts["thing"] and named:
            found.append({**facts, "prompt": named[0]})
    if len(found) < count:
        raise SystemExit(f"{count} prompts are wanted, the held-out compositions give {len(found)}; make more of them")
    return found[:count]


def shares_right(verdicts: list[Verdict], facts: list[dict]) -> dict[str, float]:
    """Shares of pictures in which the judge sees the scene, the style and the object that were asked for."""
    pairs = list(zip(verdicts, facts, strict=True))
    return {
        "scene": float(np.mean([seen.scene == asked["scene"] for seen, asked in pairs])),
        "style": float(np.mean([seen.style == asked["style"] for seen, asked in pairs])),
        "object": float(np.mean([seen.things[0] == asked["thing"] for seen, asked in pairs])),
        f"object_among_{FIRST}": float(np.mean([asked["thing"] in seen.things[:FIRST] for seen, asked in pairs])),
    }


def as_batch(pictures: list[Image.Image]) -> torch.Tensor:
    """RGB pictures of one size as float32 [count, 3, size, size] in -1..1."""
    pixels = np.stack([np.asarray(picture, np.float32) for picture in pictures])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1


def contact_sheet(pictures: list[Image.Image], texts: list[str], columns: int = 6) -> Image.Image:
    """Pictures at twice their size, each above its prompt in small letters."""
    side, label, font = 2 * pictures[0].width + 44, 44, ImageFont.load_default(11)
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * (side + 8) + 8, rows * (side + label) + 8), "#ffffff")
    pen = ImageDraw.Draw(sheet)
    for index, (picture, text) in enumerate(zip(pictures, texts, strict=True)):
        left, top = 8 + index % columns * (side + 8), 8 + index // columns * (side + label)
        sheet.paste(picture.resize((side, side), Image.Resampling.BICUBIC), (left, top))
        lines = [""]
        for word in text.split():
            longer = f"{lines[-1]} {word}".strip()
            lines = [*lines, word] if pen.textlength(longer, font) > side else [*lines[:-1], longer]
        pen.multiline_text((left, top + side + 1), "\n".join(lines[:3]), "#222222", font, spacing=1)
    return sheet


def default_work() -> Path:
    """Where `make pocket` puts everything of the recipe that pocket/params.yaml uses."""
    return HERE / "work" / str(yaml.safe_load((HERE / "params.yaml").read_text())["use"])


def open_world(work: Path, size: int) -> tuple[Pictures, dict[str, int]]:
    """The compositions in `work` that were not trained on, which must have the base's size, and what they are."""
    folder = work / "world" / "heldout"
    if not (folder / "pictures.npy").is_file():
        make = f"python -m pocket.world --recipe {work.name} --work {work}"
        raise SystemExit(f"{folder} holds no pictures; `{make}` makes them, or name another --work")
    pictures = Pictures(folder)
    side = int(pictures.pixels.shape[1])
    if side != size:
        raise SystemExit(f"the pictures in {folder} have {side} pixels, the base draws {size}; name another --work")
    toys = sum(facts["thing"] == "plush toy" for facts in pictures.facts)
    return pictures, {"pictures": len(pictures), "plush_toys": toys, "size": side}


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--grid", type=Path, help="write the first 36 drawn pictures with their prompts here")
    parser.add_argument("--work", type=Path, default=default_work(), help="folder with `world` (default: %(default)s)")
    parser.add_argument("--model", type=Path, default=HERE / "model", help="another pipeline folder to judge")
    arguments = parser.parse_args()
    prepare_environment()
    size = native_size(arguments.model)
    pictures, world = open_world(arguments.work, size)
    vae = AutoencoderKL.from_pretrained(arguments.model / "vae", dtype=torch.float32)
    of_photos = subject_reconstruction(HERE.parent / "data", vae, size)
    judge = Judge.load(HERE / "judge" / "judge.safetensors")
    real = judge_pictures(judge, pictures.batch(np.arange(len(pictures)), "cpu"))
    facts = random_prompts(pictures, PROMPTS)
    sampler = Sampler.load(arguments.model, "ddim", "fp32")
    requests = [Request(row["prompt"], seed) for seed, row in enumerate(facts)]
    began = time.monotonic()
    list(sampler.draw(requests[:8], STEPS, GUIDANCE, size, 8))
    seconds = time.monotonic() - began
    drawn = list(sampler.draw(requests, STEPS, GUIDANCE, size, 20))
    if arguments.grid:
        contact_sheet(drawn[:36], [row["prompt"] for row in facts[:36]]).save(arguments.grid)
    figures = {
        "world": world,
        "vae_psnr_db": reconstruction(pictures, vae),
        "vae_psnr_db_sample_photos": of_photos,
        "vae_latents_spread": spread(encode_all(vae, pictures, range(min(SPREAD, len(pictures))), "cpu").float()),
        f"clip_caption_among_{AMONG}": retrieval(pictures),
        "judge_right_on_real_pictures": shares_right(real, pictures.facts),
        "prompts": len(facts),
        "judge_right_on_drawn_pictures": shares_right(judge_pictures(judge, as_batch(drawn)), facts),
        "seconds_for_8_pictures": seconds,
    }
    print(json.dumps(rounded(figures), indent=2))


def rounded(value):  # noqa: ANN001, ANN201
    """Every number with three places."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    return round(value, 3) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
