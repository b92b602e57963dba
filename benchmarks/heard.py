"""Which words the U-Net of pocket listens to: `python -m benchmarks.heard --work pocket/work/RECIPE [--model FOLDER]`.

Compositions that were not trained on are noised and denoised in one step, with their caption and with one word of it
exchanged: the kind, the colour or the pattern of a plush toy, another object, another scene. Printed is by how much the
squared error of the predicted latents grows (mean over pictures and noises, with its standard error): a word that
changes nothing is not heard, however well a classifier reads it from the states of the text encoder.

Before that, how loudly the text encoder says it: by which share of their squared norm its states behind the text, which
most of the cross-attention looks at, vary over the kinds, the colours and the objects.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from benchmarks.pocket import default_work, rounded
from pipeline.environment import prepare_environment
from pocket import objects, plush
from pocket.loop import Pictures, chunks
from pocket.recipe import HERE
from pocket.scenes import SCENES
from pocket.text import encode
from pocket.unet import noise_schedule
from pocket.vae import encode_all

TIMES = (250, 400, 550, 700, 850)
BATCH = 50


def exchanged(facts: dict, rng: np.random.Generator) -> Iterator[tuple[str, str, str]]:
    """What is exchanged, a caption of a composition, and the caption with another word in its place."""
    toy = facts["thing"] == "plush toy"
    *before, kind = facts["details"].split() or [""]
    told = {"scene": (_phrase(facts), [one.phrases[0] for name, one in SCENES.items() if name != facts["scene"]])}
    if toy and before:
        named = f"{facts['details']} plush toy"
        told["kind"] = named, [" ".join([*before, one, "plush toy"]) for one in plush.KINDS if one != kind]
        pattern = before[:-1]
        others = [one for one in plush.TOY_COLORS if one != before[-1]]
        told["color"] = named, [" ".join([*pattern, one, kind, "plush toy"]) for one in others]
        if pattern:
            other = "spotted" if pattern == ["striped"] else "striped"
            told["pattern"] = named, [f"{other} {before[-1]} {kind} plush toy"]
    elif facts["thing"] and not toy:
        others = [one for one in (*objects.ANIMALS, *objects.THINGS) if one != facts["thing"]]
        told["object"] = f" {facts['thing']}", [f" {one}" for one in others]
    for name, (word, others) in told.items():
        texts = [text for text in facts["captions"] if word and word in text]
        if texts:
            yield name, texts[0], texts[0].replace(word, str(rng.choice(others)), 1)


def _phrase(facts: dict) -> str:
    found = [one for one in SCENES[facts["scene"]].phrases if any(one in text for text in facts["captions"])]
    return max(found, key=len, default="")


class Denoiser:
    """A pipeline folder's networks, which predict latents in one step."""

    def __init__(self, unet: Path, text_encoder: Path, tokenizer: Path):
        self.unet = UNet2DConditionModel.from_pretrained(unet, dtype=torch.float32).eval()
        self.text_encoder = CLIPTextModel.from_pretrained(text_encoder, dtype=torch.float32).eval()
        self.tokenizer = CLIPTokenizer.from_pretrained(tokenizer)
        self.schedule: DDPMScheduler = noise_schedule()

    @torch.inference_mode()
    def errors(self, latents: torch.Tensor, texts: list[str], time: int) -> torch.Tensor:
        """Squared error of the predicted latents of each picture, [batch]; the same noise in every call."""
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(time))
        steps = torch.full((len(latents),), time)
        states = self.text_encoder(encode(self.tokenizer, texts)).last_hidden_state
        noisy = self.schedule.add_noise(latents, noise, steps)
        predicted = self.unet(noisy, steps, states).sample
        alpha = self.schedule.alphas_cumprod[time]
        clean = (noisy - (1 - alpha).sqrt() * predicted) / alpha.sqrt()
        return (clean - latents).square().mean(dim=(1, 2, 3))


def heard(pictures: Pictures, vae: AutoencoderKL, denoiser: Denoiser, count: int) -> dict[str, dict[str, float]]:
    """The growth of the error by what is exchanged, of at most `count` compositions each."""
    rng = np.random.default_rng(5)
    rows: dict[str, list[tuple[int, str, str]]] = {}
    for index, facts in enumerate(pictures.facts):
        for name, right, wrong in exchanged(facts, rng):
            if len(rows.setdefault(name, [])) < count:
                rows[name].append((index, right, wrong))
    scale, found = vae.config.scaling_factor, {}
    for name, taken in rows.items():
        growth = []
        for part in chunks(len(taken), BATCH):
            numbers, rights, wrongs = zip(*(taken[at] for at in part), strict=True)
            latents = torch.cat([encode_all(vae, pictures, range(at, at + 1), "cpu") for at in numbers]).float() * scale
            ratios = [
                denoiser.errors(latents, list(wrongs), time) / denoiser.errors(latents, list(rights), time)
                for time in TIMES
            ]
            growth += (torch.stack(ratios).mean(dim=0) - 1).tolist()
        found[name] = {"growth": float(np.mean(growth)), "error": float(np.std(growth) / np.sqrt(len(growth)))}
        found[name]["pictures"] = len(growth)
    return found


@torch.inference_mode()
def loudness(denoiser: Denoiser) -> dict[str, float]:
    """By which share of their squared norm the states behind a text vary over what it may name, as long as each."""
    found = {}
    for name, template, words in (
        ("kind", "a photo of a striped brown {} plush toy on the beach", plush.KINDS),
        ("color", "a photo of a striped {} pig plush toy on the beach", tuple(plush.TOY_COLORS)),
        ("object", "a photo of a {} on the beach", tuple(objects.ANIMALS)),
    ):
        tokens = encode(denoiser.tokenizer, [template.format(word) for word in words])
        lengths = (tokens != denoiser.tokenizer.eos_token_id).sum(dim=1)
        alike = tokens[lengths == lengths.mode().values]
        behind = int((alike[0] == denoiser.tokenizer.eos_token_id).int().argmax()) + 1
        states = denoiser.text_encoder(alike).last_hidden_state[:, behind:]
        found[name] = float((states.var(dim=0).sum(dim=-1) / states.square().sum(dim=-1).mean(dim=0)).mean())
    return found


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=default_work())
    parser.add_argument("--model", type=Path, default=HERE / "model", help="a pipeline folder")
    parser.add_argument("--unet", type=Path, help="another U-Net in its place")
    parser.add_argument("--text-encoder", type=Path, help="another text encoder in its place")
    parser.add_argument("--count", type=int, default=200)
    asked = parser.parse_args()
    prepare_environment()
    denoiser = Denoiser(
        asked.unet or asked.model / "unet",
        asked.text_encoder or asked.model / "text_encoder",
        asked.model / "tokenizer",
    )
    vae = AutoencoderKL.from_pretrained(asked.model / "vae", dtype=torch.float32).eval()
    told = heard(Pictures(asked.work / "world" / "heldout"), vae, denoiser, asked.count)
    print(json.dumps(rounded({"said": loudness(denoiser), "heard": told}), indent=2))


if __name__ == "__main__":
    main()
