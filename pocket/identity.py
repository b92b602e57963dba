"""The encoder that tells toys apart: the same toy near itself from any side, in any scene and style, others far off.

CLIP-I and its like mostly compare scenes. This encoder is to pocket what DINO is to photographs: it looks for the
individual. It is trained to name toys that were drawn, and photographed, from several sides, some of the pictures
through the autoencoder; the sample subject is not among them. Two toys share their fabrics, so that shapes count, and
some of the drawings show a toy misshapen, which is no toy at all: a model draws such ones before it knows a subject.
"""

import json
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from PIL import Image
from torch import nn
from tqdm import tqdm
from transformers import ResNetConfig, ResNetModel

from pipeline.files import digest_file
from pocket import plush
from pocket.judge import varied
from pocket.loop import Pictures, chunks, indices_at, train
from pocket.misshapen import misshapen
from pocket.origin import SPRITES, VAE, WORLD, facts_of, is_made, mark, origin
from pocket.photographs import SEED, known_toy
from pocket.recipe import Recipe
from pocket.world import Sprite, World, load_sprites

SIDE = 96  # pixels the encoder looks at
HELD_OUT = 1200  # drawings of toys that training never sees
PIXELS = 112  # of a drawn toy, before it is placed
SCALE, MARGIN = 16.0, 0.2
NOTHING, NOTHING_COSINE = -1, 0.3  # the number of a misshapen toy, and what all toys' cosines to it stay below
DECODED = 20  # every so many-th drawing is trained on also as the autoencoder gives it back
MISSHAPEN = 0.2  # of the drawings that are trained on
PHOTO_SHARE = 0.4  # of the examples of a step


@dataclass(frozen=True)
class Examples:
    """Pictures uint8 [count, size, size, 3] and the number of the toy in each."""

    pixels: np.ndarray
    toys: np.ndarray

    def with_others(self, others: "Examples", share: float) -> "Examples":
        """Both, the others repeated until they are about `share` of all; toys have the same numbers in both."""
        times = max(1, round(share / (1 - share) * len(self.toys) / len(others.toys)))
        pixels = np.concatenate([self.pixels, *[others.pixels] * times])
        return Examples(pixels, np.concatenate([self.toys, *[others.toys] * times]))

    def and_decoded(self, vae: AutoencoderKL, kept: Path, made_from: str, every: int = 1) -> "Examples":
        """All of them, and `every` so many-th as the autoencoder gives it back, which is how a model draws it.

        The latter are kept in the file `kept`, whose mark says what they were made from.
        """
        if not is_made(kept, made_from):
            mark(kept, made_from)
            part = kept.with_suffix(".part.npy")
            np.save(part, decoded(vae, self.pixels[::every]))
            part.rename(kept)
        toys = np.concatenate([self.toys, self.toys[::every]])
        return Examples(np.concatenate([self.pixels, np.load(kept)]), toys)

    @classmethod
    def of_photographs(cls, folder: Path, toys: range) -> "Examples":
        """The photographs of some toys, which are numbered anew from 0."""
        pictures = Pictures(folder)
        rows = [row for row, facts in enumerate(pictures.facts) if facts["toy"] in toys]
        numbers = [pictures.facts[row]["toy"] - toys.start for row in rows]
        return cls(np.asarray(pictures.pixels[rows]), np.array(numbers))

    @classmethod
    def load(cls, path: Path) -> "Examples":
        with np.load(path) as file:
            return cls(file["pixels"], file["toys"])


def views(job: tuple[int, int]) -> list[np.ndarray]:
    """Toy `job[0]` from `job[1]` random sides, uint8 RGBA each."""
    index, count = job
    rng = np.random.default_rng([SEED, index])
    toy, _ = known_toy(index)
    made = []
    for _ in range(count):
        angle = np.array([rng.uniform(-0.9, 0.9), rng.uniform(0.35, 0.9)])
        light = np.array([np.sin(angle[0]), angle[1], np.cos(angle[0])])
        pixels = plush.render_sprite(toy, rng.uniform(-1.3, 1.3), rng.uniform(0.0, 0.45), light, PIXELS)
        box = Image.fromarray(pixels[..., 3]).getbbox()
        made.append(pixels[box[1] : box[3], box[0] : box[2]])
    return made


_start: tuple[World, list[list[np.ndarray]], int, int, float] | None = None


def _begin(sprites: list[Sprite], toys: list[list[np.ndarray]], size: int, seed: int, misshapen_share: float) -> None:
    global _start  # noqa: PLW0603
    _start = World(sprites), toys, size, seed, misshapen_share


def _compose(index: int) -> tuple[np.ndarray, int]:
    """Example `index`: one of the toys from one of its sides, or misshapen, in a random composition of the world."""
    assert _start is not None
    world, toys, size, seed, misshapen_share = _start
    rng = np.random.default_rng([seed, index])
    toy = index % len(toys)
    pixels = toys[toy][rng.integers(len(toys[toy]))]
    if rng.random() < misshapen_share:
        pixels, toy = misshapen(pixels, rng), NOTHING
    what, sprite = world.choose(rng)
    while sprite is None or sprite.thing != "plush toy":
        what, sprite = world.choose(rng)
    return world.compose(what, Sprite("plush toy", what.details, pixels), rng, size), toy


def make_examples(recipe: Recipe, work: Path) -> None:
    """`toys.npz` of the training toys, `heldout.npz` of toys that training never sees (their pictures differ too)."""
    settings = recipe.identity
    folder = work / "identity"
    folder.mkdir(parents=True, exist_ok=True)
    total = settings.toys + settings.held_out
    jobs = [(index, settings.views) for index in range(total)]
    with get_context("spawn").Pool(settings.processes) as pool:
        drawn = list(tqdm(pool.imap(views, jobs, 4), total=total, desc="toys from several sides"))
    sprites = load_sprites(work / "world" / "sprites.npz")
    parts = (
        ("toys", drawn[: settings.toys], settings.pictures, MISSHAPEN),
        ("heldout", drawn[settings.toys :], HELD_OUT, 0.0),
        ("misshapen", drawn[settings.toys :], HELD_OUT, 1.0),
    )
    for number, (name, toys, count, share) in reversed(list(enumerate(parts))):  # toys.npz last: all is there then
        start = (sprites, toys, recipe.size, SEED + 1 + number, share)
        with get_context("spawn").Pool(settings.processes, _begin, start) as pool:
            found = list(tqdm(pool.imap(_compose, range(count), 64), total=count, desc=name))
        pixels, numbers = np.stack([picture for picture, _ in found]), np.array([toy for _, toy in found])
        np.savez(folder / f"{name}.part.npz", pixels=pixels, toys=numbers)
        (folder / f"{name}.part.npz").rename(folder / f"{name}.npz")


def build_encoder() -> ResNetModel:
    """A small ResNet with random weights; its pooled features are the embedding."""
    return ResNetModel(
        ResNetConfig(embedding_size=32, hidden_sizes=[32, 64, 128, 192], depths=[1, 2, 2, 1], layer_type="basic")
    )


class Namer(nn.Module):
    """The encoder with one direction a toy; gives cosines [batch, toys]."""

    def __init__(self, encoder: ResNetModel, toys: int):
        super().__init__()
        self.encoder, self.directions = encoder, nn.Parameter(torch.randn(toys, 192))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return F.linear(F.normalize(embed(self.encoder, pixels)), F.normalize(self.directions))


def embed(encoder: ResNetModel, pixels: torch.Tensor) -> torch.Tensor:
    """Pooled features [batch, 192] of pictures [batch, 3, size, size] in -1..1."""
    pixels = F.interpolate(pixels, size=SIDE, mode="bicubic", antialias=True).clamp(-1, 1)
    return encoder(pixel_values=2 * pixels).pooler_output.flatten(1)


def as_pixels(pictures: np.ndarray) -> torch.Tensor:
    """uint8 [batch, size, size, 3] as float32 [batch, 3, size, size] in -1..1."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.inference_mode()
def decoded(vae: AutoencoderKL, pictures: np.ndarray) -> np.ndarray:
    """What the autoencoder makes of pictures, uint8 [count, size, size, 3] both."""
    found = []
    for rows in tqdm(list(chunks(len(pictures), 64)), desc="through the autoencoder"):
        pixels = vae(as_pixels(pictures[rows.start : rows.stop]).to(vae.device)).sample.clamp(-1, 1)
        found.append(((pixels + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy())
    return np.concatenate(found)


def train_identity(recipe: Recipe, work: Path) -> None:
    """Cosine softmax with a margin (CosFace, Wang et al. 2018, arXiv 1801.09414) over the toys."""
    folder = work / "identity"
    settings = recipe.identity
    drawn_as = facts_of({"size": recipe.size, "toys": settings.toys, "held out": settings.held_out,
                         "views": settings.views, "pictures": settings.pictures, "misshapen": MISSHAPEN,
                         "sprites": digest_file(work / SPRITES)})  # fmt: skip
    if not is_made(folder / "toys.npz", drawn_as):
        mark(folder / "toys.npz", drawn_as)
        make_examples(recipe, work)
    vae = AutoencoderKL.from_pretrained(work / "vae").to(recipe.device).eval()
    read = ("identity/toys.npz", WORLD[1], VAE)
    made_from = facts_of({"every": DECODED, **{file: digest_file(work / file) for file in read}})
    taken = Examples.of_photographs(work / "photographs", range(settings.toys))
    drawn = Examples.load(folder / "toys.npz").and_decoded(vae, folder / "toys-decoded.npy", made_from, DECODED)
    taken = taken.and_decoded(vae, folder / "photographs-decoded.npy", made_from)
    examples = drawn.with_others(taken, PHOTO_SHARE)
    torch.manual_seed(5)
    namer = Namer(build_encoder(), recipe.identity.toys).to(recipe.device)

    def loss_at(step: int) -> dict[str, torch.Tensor]:
        indices = indices_at(step, recipe.identity.batch, len(examples.toys), seed=5)
        rng = np.random.default_rng([5, step])
        pixels = varied(as_pixels(examples.pixels[indices]), rng)
        pixels = (pixels.flip(-1) if step % 2 else pixels) * float(rng.uniform(0.85, 1.1))
        toys = torch.from_numpy(examples.toys[indices]).to(recipe.device)
        with torch.autocast(recipe.device, torch.bfloat16, enabled=recipe.bf16):
            cosines = namer(pixels.clamp(-1, 1).to(recipe.device)).float()
        toys = torch.where(toys == NOTHING, cosines.shape[1], toys)
        cosines = F.pad(cosines, (0, 1), value=NOTHING_COSINE)
        loss = F.cross_entropy(SCALE * (cosines - MARGIN * F.one_hot(toys, cosines.shape[1])), toys)
        return {"loss": loss, "accuracy": (cosines.argmax(1) == toys).float().mean()}

    train(namer, loss_at, recipe.identity, folder, "identity", origin(recipe, "identity", work, read))
    encoder = namer.encoder.cpu().eval()
    encoder.save_pretrained(folder)
    print(json.dumps(figures(encoder, recipe, work, vae.cpu()), indent=2))


def figures(encoder: ResNetModel, recipe: Recipe, work: Path, vae: AutoencoderKL) -> dict[str, dict[str, float]]:
    """`told_apart` for toys never trained on: drawings, photos, and drawings that went through the autoencoder held
    against photos, which is what a model's pictures are judged by; the last of these also misshapen.
    """
    held_out = range(recipe.identity.toys, recipe.identity.toys + recipe.identity.held_out)
    drawn = Examples.load(work / "identity" / "heldout.npz")
    taken = Examples.of_photographs(work / "photographs", held_out)
    through = Examples(decoded(vae, drawn.pixels), drawn.toys)
    pairs = {"drawings": (drawn, drawn), "photos": (taken, taken), "decoded_with_photos": (through, taken)}
    found = {name: told_apart(encoder, *pair) for name, pair in pairs.items()}
    misshapen_ones = Examples.load(work / "identity" / "misshapen.npz")  # row by row of the same toys as the others
    ruined = Examples(decoded(vae, misshapen_ones.pixels), drawn.toys)
    return {**found, "misshapen_with_photos": told_apart(encoder, ruined, taken)}


@torch.inference_mode()
def told_apart(encoder: ResNetModel, examples: Examples, others: Examples) -> dict[str, float]:
    """Over pairs of a picture of `examples` and one of `others`, toys never trained on, no picture with itself.

    Returns:
        The mean cosine of the same toy, of two toys, and the area under the ROC curve (the chance that a pair of one
        toy is nearer than a pair of two).
    """
    first, second = _vectors(encoder, examples), _vectors(encoder, others)
    found = first @ second.T
    pairs = torch.triu(torch.ones_like(found, dtype=torch.bool), 1) if others is examples else found > -2
    cosines = found[pairs].numpy()
    same = (torch.from_numpy(examples.toys)[:, None] == torch.from_numpy(others.toys))[pairs].numpy()
    ranks = cosines.argsort().argsort() + 1
    hits, misses = int(same.sum()), int((~same).sum())
    area = (ranks[same].sum() - hits * (hits + 1) / 2) / (hits * misses)
    return {"same": float(cosines[same].mean()), "others": float(cosines[~same].mean()), "area": float(area)}


def _vectors(encoder: ResNetModel, examples: Examples) -> torch.Tensor:
    parts = np.array_split(np.arange(len(examples.toys)), max(1, len(examples.toys) // 100))
    return torch.cat([F.normalize(embed(encoder, as_pixels(examples.pixels[part]))) for part in parts])


if __name__ == "__main__":
    from pocket.stages import run

    run(train_identity)
