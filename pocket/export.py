"""The trained parts as what people load: `model` (a pipeline folder), `clip`, `identity` (for evaluation), `judge`, and
`control` where it follows silhouettes well enough.

They are written to `export` in the work folder; copying them to `pocket/` publishes them.
"""

import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, T2IAdapter, UNet2DConditionModel
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer, ResNetModel

from pipeline.base.digest import PATH_KEYS
from pocket.identity import SIDE
from pocket.judge import phrases
from pocket.recipe import Recipe
from pocket.unet import noise_schedule

LEAST_OVERLAP = 0.6  # of silhouettes asked for and drawn, from which the control adapter is published


def export(recipe: Recipe, work: Path) -> None:
    """Write all folders with float16 weights, and the curves of the trainings beside them."""
    out = work / "export"
    out.mkdir(parents=True, exist_ok=True)
    pipeline = StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(work / "vae").half(),
        text_encoder=CLIPTextModel.from_pretrained(work / "text").half(),
        tokenizer=CLIPTokenizer.from_pretrained(work / "clip"),
        unet=UNet2DConditionModel.from_pretrained(work / "unet").half(),
        scheduler=DDIMScheduler.from_config(noise_schedule().config, set_alpha_to_one=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    replace(out / "model", pipeline.save_pretrained)
    replace(out / "clip", lambda folder: save_scorer(recipe, work, folder))
    replace(out / "identity", lambda folder: save_identity(work, folder))
    (out / "judge").mkdir(exist_ok=True)
    shutil.copy2(work / "judge" / "judge.safetensors", out / "judge")
    (out / "judge" / "phrases.json").write_text(json.dumps(phrases(), indent=1) + "\n")
    measured = work / "control" / "control.json"
    if measured.is_file() and json.loads(measured.read_text())["overlap"] >= LEAST_OVERLAP:
        replace(out / "control", lambda folder: save_control(work, folder))
        replace(out / "outline", lambda folder: save_outline(work, folder))
    else:  # one of another U-Net, which may be there from before, fits this one no more
        for name in ("control", "outline"):
            shutil.rmtree(out / name, ignore_errors=True)
    curves = out / "curves"
    curves.mkdir(exist_ok=True)
    for name in ("vae", "clip", "text", "unet", "judge", "identity", "outline", "control"):
        if not (work / name / f"{name}.jsonl").is_file():
            continue
        rows = [json.loads(line) for line in (work / name / f"{name}.jsonl").read_text().splitlines()]
        lines = (json.dumps({key: round(row[key], 5) for key in row if key != "time"}) for row in rows)
        (curves / f"{name}.jsonl").write_text("".join(line + "\n" for line in lines))


def save_scorer(recipe: Recipe, work: Path, folder: Path) -> None:
    """The small CLIP with its tokenizer and the image processor's settings."""
    CLIPModel.from_pretrained(work / "clip").to(torch.float16).save_pretrained(folder)
    CLIPTokenizer.from_pretrained(work / "clip").save_pretrained(folder)
    save_processor(recipe.size, folder)


def save_identity(work: Path, folder: Path) -> None:
    """The encoder that tells toys apart, with the image processor's settings."""
    ResNetModel.from_pretrained(work / "identity").to(torch.float16).save_pretrained(folder)
    save_processor(SIDE, folder)


def save_control(work: Path, folder: Path) -> None:
    """The control adapter, with what was measured of it."""
    T2IAdapter.from_pretrained(work / "control").half().save_pretrained(folder)
    shutil.copy2(work / "control" / "control.json", folder / "measured.json")


def save_outline(work: Path, folder: Path) -> None:
    """The network that finds outlines in drawings, with what was measured of it."""
    shutil.copy2(work / "outline" / "outline.safetensors", folder)
    shutil.copy2(work / "outline" / "outline.json", folder / "measured.json")


def save_processor(side: int, folder: Path) -> None:
    """Settings of the image processor: pictures of `side` pixels, values of -2..2."""
    processor = {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": side},
        "do_center_crop": True,
        "crop_size": {"height": side, "width": side},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.25, 0.25, 0.25],
        "resample": 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=2) + "\n")


def replace(folder: Path, save) -> None:  # noqa: ANN001
    """Save into a fresh folder that then takes the place of the old one; configurations name no path."""
    fresh = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    save(fresh)
    for path in fresh.rglob("*.json"):
        value = json.loads(path.read_text())
        for key in PATH_KEYS:
            value.pop(key, None)
        path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


if __name__ == "__main__":
    from pocket.stages import run

    run(export)
