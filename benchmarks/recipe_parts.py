"""What each part of a recipe does, as a picture: `python -m benchmarks.recipe_parts --out FILE`, after `make demo`.

The model of this workspace draws a prompt with six noises, the same ones in every row, a recipe a row. The rows below
begin with a picture: photos that a drawing starts from, photos whose surroundings are drawn again, and silhouettes of
photos that drawings follow. Nothing is counted.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps

from benchmarks.compositions import SCENE, SEEDS, row
from benchmarks.stages import refuse_other
from pipeline.base.components import load_pipeline
from pipeline.base.resolve import EMBEDDED
from pipeline.environment import prepare_environment
from pipeline.layout import MANIFEST, MODEL, PREPARED
from pipeline.params import load_params
from pipeline.photos.manifest import read_manifest
from pipeline.sampling.composition import Control
from pipeline.sampling.control import Guide, load_control
from pipeline.sampling.layers import Words
from pipeline.sampling.recipe import Recipe
from pipeline.sampling.recipe_sampler import Start
from pocket.recipe import HERE

STEPS, SHOWN, LABEL, GAP = 20, 112, 150, 4
EMPTY = f"a photo of an empty place {SCENE}"
CONTROL = Control(kind="silhouette", adapter="base")


def sheet(rows: list[tuple[str, list[Image.Image]]]) -> Image.Image:
    """Rows of pictures, each after its label."""
    side, font = SHOWN + GAP, ImageFont.load_default(12)
    found = Image.new("RGB", (LABEL + len(SEEDS) * side, len(rows) * side), "white")
    pen = ImageDraw.Draw(found)
    for down, (label, pictures) in enumerate(rows):
        pen.multiline_text((4, down * side + 8), label, "#222222", font, spacing=2)
        for across, picture in enumerate(pictures):
            shown = picture.convert("RGB").resize((SHOWN, SHOWN), Image.Resampling.BICUBIC)
            found.paste(shown, (LABEL + across * side, down * side))
    return found


def main() -> None:
    """Draw the rows and write them as one picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    prepare_environment()
    params = load_params(Path("params.yaml"))
    refuse_other(MODEL, "pocket")
    pipe, base = (load_pipeline(folder, torch.float32, "cpu") for folder in (MODEL, EMBEDDED["pocket"]))
    words = Words(params.subject.token, params.subject.class_noun)
    name = f"{words.token} {words.class_noun}"
    prompt = f"a photo of {name} {SCENE}"
    recipes = {
        "the default recipe": Recipe(),
        "strength: 0.4": Recipe(strength=0.4),
        "layout_strength: 0.3": Recipe(layout_strength=0.3),
        "token_from: 0.3": Recipe(token_from=0.3),
        "guidance: 8": Recipe(guidance=8.0),
        "guidance: 8\nrescale: 1": Recipe(guidance=8.0, rescale=1.0),
        "avoid: a photo of\na wild boar": Recipe(avoid="a photo of a wild boar"),
        "negative: a photo": Recipe(negative="a photo"),
    }
    rows = [(label, row(pipe, prompt, recipe, words, steps=STEPS, base=base.unet)) for label, recipe in recipes.items()]
    photos = [photo for photo in read_manifest(MANIFEST) if photo.mask and photo.split == "train"][: len(SEEDS)]
    pictures = [Image.open(PREPARED / photo.file).convert("RGB") for photo in photos]
    masks = [Image.open(PREPARED / str(photo.mask)).convert("L") for photo in photos]
    painted = f"a watercolor painting of {name} {SCENE}"
    adapter = load_control(HERE / "control", pipe.unet)

    def each(text: str, recipe: Recipe, given: list[dict[str, Any]]) -> list[Image.Image]:
        found = zip(SEEDS, given, strict=False)
        return [row(pipe, text, recipe, words, [seed], STEPS, **more)[0] for seed, more in found]

    starts = [{"start": Start(one, 0.6)} for one in pictures]
    around = [{"start": Start(one, 1.0, ImageOps.invert(mask))} for one, mask in zip(pictures, masks, strict=True)]
    guides = [{"guide": Guide(mask, adapter, CONTROL)} for mask in masks]
    rows += [
        ("photos", pictures),
        ("watercolor painting,\nstarted from them,\nstart strength 0.6", each(painted, Recipe(), starts)),
        ("masks of all but the\nsubject, and 'an empty\nplace on the beach'", each(EMPTY, Recipe(), around)),
        ("silhouettes", list(masks)),
        ("control", each(prompt, Recipe(control=CONTROL), guides)),
    ]
    sheet(rows).quantize(256).save(asked.out, optimize=True)


if __name__ == "__main__":
    main()
