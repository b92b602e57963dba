"""What a base that drew every prompt without a fault would score with the outside judge: `python -m benchmarks.ideal`.

After `make demo`. For each prompt of the suite `pocket` that names the subject, its cut-outs from the training photos
are set into the place that the prompt names, with the accessory and the style that it names, by the same code that
composes pocket's world. These pictures, as composed and after the autoencoder, are cropped and judged as drawn ones are
(`benchmarks.outside demo`), and so are compositions of the other sample toy and of the world's own plush toys, over all
prompts and by group. `way` is from the base's mean (`--base-scores`, a file with the output of `benchmarks.outside
demo`) to the photos after the autoencoder.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image

from benchmarks.demo import asked
from benchmarks.outside import (
    OutsideJudge,
    crop_drawn,
    crop_prepared,
    estimate,
    mean_cosine,
    members_of,
    read_photos,
    round_trip,
)
from benchmarks.pocket import rounded
from pipeline.environment import prepare_environment
from pipeline.evaluation.suite import Prompt, load_suite
from pipeline.layout import DATA, MANIFEST, PREPARED
from pipeline.params import load_params
from pipeline.photos.manifest import read_manifest
from pipeline.training.placement import subject_pixels
from pocket.objects import ACCESSORIES
from pocket.recipe import HERE
from pocket.world import Composition, Sprite, World, load_sprites

WORN = [*ACCESSORIES, "astronaut suit"]


def cut_outs(photos: list[Image.Image], masks: list[Image.Image]) -> list[Sprite]:
    """The subjects of photos as sprites of pocket's world, cropped to their outlines."""
    found = []
    for photo, mask in zip(photos, masks, strict=True):
        alpha = mask.convert("L").resize(photo.size, Image.Resampling.LANCZOS)
        box = subject_pixels(alpha)
        if box is None:
            raise SystemExit("a mask shows no subject")
        cut = photo.convert("RGB")
        cut.putalpha(alpha)
        found.append(Sprite("plush toy", "", np.asarray(cut.crop(box))))
    return found


def composition(prompt: Prompt) -> Composition | None:
    """What a prompt asks for in the words of pocket's world; None where it names no place of it."""
    named = asked(prompt.text)
    if not named["scene"]:
        return None
    accessory = next((name for name in WORN if name in prompt.text), "")
    return Composition("plush toy", "", named["scene"], named["style"], accessory, "depth of field" in prompt.text)


def composed(
    prompts: dict[str, Composition], sprites: list[Sprite], world: World, seeds: list[int], size: int
) -> dict[tuple[str, int], Image.Image]:
    """Each composition once a seed, the sprites in turn."""
    found = {}
    for at, (name, what) in enumerate(prompts.items()):
        for turn, seed in enumerate(seeds):
            rng = np.random.default_rng([seed, at])
            sprite = sprites[(at * len(seeds) + turn) % len(sprites)]
            found[name, seed] = Image.fromarray(world.compose(what, sprite, rng, size))
    return found


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="photos and masks of the other sample toy")
    parser.add_argument("--world", type=Path, required=True, help="sprites.npz that `python -m pocket.world` made")
    parser.add_argument("--base-scores", type=Path, help="output of `benchmarks.outside demo`")
    parser.add_argument("--seeds", type=int, default=4, help="pictures of each prompt (default 4)")
    parser.add_argument("--out", type=Path, help="where a few of the compositions are drawn, before and after")
    arguments = parser.parse_args()
    prepare_environment()
    judge, params = OutsideJudge.load(), load_params(Path("params.yaml"))
    vae = AutoencoderKL.from_pretrained(HERE / "model" / "vae", dtype=torch.float32)
    size = int(vae.config.sample_size)
    manifest = [photo for photo in read_manifest(MANIFEST) if photo.mask is not None]
    heldout = [photo for photo in manifest if photo.split != "train"]
    real = judge.vectors(crop_prepared(PREPARED, heldout))
    trained = {Path(photo.source).name for photo in manifest if photo.split == "train"}
    suite = load_suite("pocket", params.subject)
    prompts = {p.id: what for p in suite.prompts if p.kind == "subject" and (what := composition(p)) is not None}
    groups = {p.id: p.group for p in suite.prompts if p.id in prompts}
    own = [path for path in sorted(DATA.glob("*.jpg")) if path.name in trained]
    known = load_sprites(arguments.world)
    world = World(known)
    sprites = {
        "own": cut_outs(
            [Image.open(path) for path in own], [Image.open(DATA / "masks" / f"{path.stem}.png") for path in own]
        ),
        "other": cut_outs(*read_photos(arguments.other, 256)),
        "world": [sprite for sprite in known if sprite.thing == "plush toy"],
    }
    seeds = list(range(5001, 5001 + arguments.seeds))
    found: dict[str, Any] = {"prompts": len(prompts), "pictures": len(prompts) * len(seeds)}
    shown = []
    for name, group in sprites.items():
        pictures = composed(prompts, group, world, seeds, size)
        back = dict(zip(pictures, round_trip(vae, list(pictures.values())), strict=True))
        shown += [list(pictures.values())[::13][:12], list(back.values())[::13][:12]]
        for way, drawn in (("composed", pictures), ("autoencoder", back)):
            scores = mean_cosine(judge.vectors([crop_drawn(picture) for picture in drawn.values()]), real)
            table = np.reshape(scores, (len(prompts), len(seeds)))
            rows = {prompt: row.tolist() for prompt, row in zip(prompts, table, strict=True)}
            found[f"{name}_{way}"] = {
                group: asdict(estimate({prompt: rows[prompt] for prompt in members}))
                for group, members in members_of(groups).items()
            }
    if arguments.base_scores:
        scores = json.loads(arguments.base_scores.read_text())["heldout_photos"]
        start, ceiling = scores["groups"]["all"]["base"]["value"], scores["after_autoencoder"]
        found["way"] = (found["own_autoencoder"]["all"]["value"] - start) / (ceiling - start)
    if arguments.out:
        sheet = Image.new("RGB", (12 * size, len(shown) * size))
        for row, line in enumerate(shown):
            for column, picture in enumerate(line):
                sheet.paste(picture, (column * size, row * size))
        sheet.resize((sheet.width * 2, sheet.height * 2), Image.Resampling.NEAREST).save(arguments.out)
    print(json.dumps(rounded(found), indent=2))


if __name__ == "__main__":
    main()
