"""Jobs for the trainer on the tiny base, and what came of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pipeline.base.learned import with_learned
from pipeline.params import Train
from pipeline.training.data import Sample
from pipeline.training.eight_bit import FLAGS, SOURCE
from pipeline.training.job import Job
from pipeline.training.native_library import load_library
from tests.tiny import SIZE, picture

TOKEN = {"learn": True, "learning_rate": 1e-3, "start_from": "plush toy"}
UNET, TEXT = "unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"


def make_job(base: Path, folder: Path, values: dict[str, Any]) -> Callable[..., Job]:
    """`make_job(...)(steps=3)`: three photos and two class images; `values` are those of `train` in params.yaml."""
    for index in range(5):
        picture(index, SIZE, SIZE).save(folder / f"{index}.png")
    photos = [Sample(folder / f"{index}.png", f"a photo of mysks plush toy, {index}") for index in range(3)]
    images = [Sample(folder / f"{index}.png", "a photo of a plush toy") for index in (3, 4)]

    def make(name: str = "run", class_images: bool = True, **changes: Any) -> Job:
        return Job(
            base=base,
            variant=None,
            photos=photos,
            class_images=images if class_images else [],
            token="mysks",
            class_noun="plush toy",
            params=Train.model_validate({**values, **changes}),
            checkpoints=folder / name / "checkpoints",
            model=folder / name / "model",
        )

    return make


def weights(job: Job) -> dict[str, torch.Tensor]:
    """The tensors of U-Net and text encoder with what was learned."""
    files = {"unet": UNET, "text_encoder": TEXT}
    parts = [with_learned(job.model, part, load_file(job.model / file)) for part, file in files.items()]
    return {**parts[0], **parts[1]}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def needs_compiler() -> None:
    """Skip a test of the 8-bit step in C where it cannot be compiled."""
    if load_library(SOURCE, *FLAGS) is None:
        pytest.skip("no C compiler on this machine")
