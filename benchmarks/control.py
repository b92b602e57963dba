"""What control does to a tuned model: `python -m benchmarks.control`, after the stage `select`.

With `--control FOLDER` the networks are not pocket's, but those that `python -m pocket.outline --work FOLDER` and
`python -m pocket.control --work FOLDER` made.

Prompts of the suite `pocket` are drawn with the silhouettes of the subject in its training photos, and without, from
the same noise; the silhouettes take turns, each with as many prompts. Printed are, with 95 % intervals of a bootstrap
that draws silhouettes, then pictures (a prompt with a seed) within each,

* the overlap (intersection over union) of the silhouette asked for and of the one in the drawing, as the outline
  network sees it, and what that network reaches on compositions itself;
* likeness to the held-out photos by pocket's identity encoder, and how much of it control costs. No silhouette is that
  of a photo that likeness is measured against: that would hide some of the cost.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from benchmarks.pocket import as_batch, rounded
from benchmarks.stages import refuse_other
from pipeline.base.components import best_device, load_pipeline, torch_dtype
from pipeline.environment import prepare_environment
from pipeline.evaluation.backbones import Encoder
from pipeline.evaluation.followed import shapes_in_turn
from pipeline.evaluation.outline_network import load_outliner, outlines_of, overlaps
from pipeline.evaluation.statistics import two_level_bootstrap
from pipeline.evaluation.suite import Prompt, load_suite, noise_of
from pipeline.files import read_json
from pipeline.layout import MANIFEST, MODEL, PARAMS, PREPARED
from pipeline.params import Params, load_params
from pipeline.photos.manifest import Photo, read_manifest
from pipeline.sampling.composition import Control
from pipeline.sampling.control import Guide, load_control
from pipeline.sampling.layers import Words
from pipeline.sampling.recipe import Recipe
from pipeline.sampling.recipe_sampler import RecipeSampler
from pipeline.sampling.sampler import Request
from pocket.recipe import HERE

SEEDS = (6001, 6002)
RESAMPLES = 5000
CONTROL = Control(kind="silhouette")
Drawn = dict[str, list[Image.Image]]  # by prompt, one picture a seed


def draw(params: Params, prompts: list[Prompt], masks: dict[str, Image.Image], net: Path | None) -> Drawn:
    """Every prompt with every seed, following its mask where there is a control adapter."""
    settings = params.sample.draw
    pipe = load_pipeline(MODEL, torch_dtype(settings.precision), best_device())
    loaded = load_control(net, pipe.unet) if net else None
    words, size = Words(params.subject.token, params.subject.class_noun), masks[prompts[0].id].width
    own, found = pipe.scheduler, dict[str, list[Image.Image]]()
    for prompt in prompts:
        pipe.scheduler = own
        guide = Guide(masks[prompt.id], loaded, CONTROL) if loaded else None
        recipe = Recipe(control=CONTROL) if loaded else Recipe()
        sampler = RecipeSampler(pipe, settings.scheduler, recipe, words, guide=guide)
        requests = [Request(prompt.text, noise_of(prompt.id, seed)) for seed in SEEDS]
        found[prompt.id] = list(sampler.draw(requests, settings.steps, settings.guidance, size, len(SEEDS)))
    return found


def overlap(drawn: Drawn, masks: dict[str, Image.Image], outline: Path) -> dict[str, list[float]]:
    """Intersection over union of each drawing's silhouette and of the mask that it was asked for."""
    net, found = load_outliner(outline), {}
    for prompt, pictures in drawn.items():
        wanted = (as_batch([masks[prompt].convert("RGB")])[:, :1] + 1) / 2
        seen = outlines_of(net, as_batch([picture.convert("RGB") for picture in pictures]))
        found[prompt] = overlaps(seen, wanted.expand_as(seen)).tolist()
    return found


def likeness(drawn: Drawn, held: list[Photo]) -> dict[str, list[float]]:
    """The mean cosine of each drawing to the held-out photos."""
    encoder = Encoder(HERE / "identity")
    photos = encoder.pictures([PREPARED / photo.file for photo in held])
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for prompt, pictures in drawn.items():
            files = [Path(folder) / f"{prompt}-{number}.png" for number in range(len(pictures))]
            for picture, file in zip(pictures, files, strict=True):
                picture.save(file)
            found[prompt] = (encoder.pictures(files) @ photos.T).mean(dim=1).tolist()
    return found


def measure(control: Path, count: int) -> dict[str, Any]:
    """The figures of the workspace's model on the first `count` prompts of its subject."""
    params = load_params(PARAMS)
    refuse_other(MODEL, params.base.model)
    photos = read_manifest(MANIFEST)
    held = [photo for photo in photos if photo.split == "heldout"]
    prompts = [one for one in load_suite("pocket", params.subject).prompts if one.kind == "subject"][:count]
    shapes = silhouettes(photos, [prompt.id for prompt in prompts])
    if not shapes or not held:
        raise SystemExit("training photos need masks, and some photos must be held out")
    prompts = [prompt for prompt in prompts if prompt.id in shapes]
    masks = {prompt: Image.open(PREPARED / file).convert("L") for prompt, file in shapes.items()}
    drawn = {
        name: draw(params, prompts, masks, net) for name, net in (("with", control / "control"), ("without", None))
    }
    outline = control / "outline"
    measured = outline / "measured.json", outline / "outline.json"  # published, or as the stage leaves it
    seen = {name: overlap(pictures, masks, outline / "outline.safetensors") for name, pictures in drawn.items()}
    alike = {name: likeness(pictures, held) for name, pictures in drawn.items()}
    lost = {
        prompt: [one - other for one, other in zip(alike["without"][prompt], alike["with"][prompt], strict=True)]
        for prompt in drawn["with"]
    }
    before, cost = estimate(alike["without"], shapes)["value"], estimate(lost, shapes)
    return {
        "pictures": len(prompts) * len(SEEDS),
        "overlap": {name: estimate(table, shapes) for name, table in seen.items()},
        "instrument": read_json(next(path for path in measured if path.is_file()))["overlap"],
        "likeness": {name: estimate(table, shapes) for name, table in alike.items()},
        "likeness_lost": {**cost, "share": cost["value"] / before},
    }


def silhouettes(photos: Sequence[Photo], prompts: Sequence[str]) -> dict[str, str]:
    """The mask's file of a training photo for each prompt: they take turns, and each has as many prompts.

    Prompts that are left over have none.
    """
    return shapes_in_turn([photo.mask for photo in photos if photo.mask and photo.split == "train"], prompts)


def estimate(table: dict[str, list[float]], shapes: dict[str, str]) -> dict[str, float]:
    """The mean of what each prompt's pictures have, with its interval over silhouettes and the pictures of each."""
    by_shape: dict[str, list[float]] = {}
    for prompt, values in table.items():
        by_shape.setdefault(shapes[prompt], []).extend(values)
    found = two_level_bootstrap(by_shape, RESAMPLES, 1)
    return {
        "value": found.value, "low": found.low, "high": found.high, "silhouettes": len(by_shape),
        "pictures": found.pictures,
    }  # fmt: skip


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--control", type=Path, default=HERE, help="folder with outline/ and control/")
    parser.add_argument("--prompts", type=int, default=45, help="prompts that are drawn")
    arguments = parser.parse_args()
    prepare_environment()
    with torch.inference_mode():
        print(json.dumps(rounded(measure(arguments.control, arguments.prompts)), indent=2))


if __name__ == "__main__":
    main()
