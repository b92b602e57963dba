"""Pocket's control adapter and the instrument that judges it: outlines are true, both stages run and go on, and the
adapter that they write draws.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import T2IAdapter
from PIL import Image

from benchmarks.control import estimate, silhouettes
from pipeline.base.components import load_pipeline
from pipeline.base.resolve import EMBEDDED
from pipeline.evaluation.outline_network import load_outliner, outlines_of, overlaps
from pipeline.photos.manifest import Photo
from pipeline.sampling.composition import Control
from pipeline.sampling.control import Guide
from pipeline.sampling.layers import Words
from pipeline.sampling.recipe import Recipe
from pipeline.sampling.recipe_sampler import RecipeSampler
from pipeline.sampling.sampler import Request
from pocket import control, outline
from pocket.captions import Composition
from pocket.export import save_outline
from pocket.objects import ACCESSORIES
from pocket.recipe import read_recipe
from pocket.world import Sprite, World, save_sprites

GREEN = np.zeros((40, 24, 4), np.uint8) + np.uint8([0, 255, 0, 255])
BASE = EMBEDDED["pocket"]


def test_an_outline_is_where_the_thing_is_and_changes_no_picture() -> None:
    world, what = World([]), Composition("cat", "", "beach", "photo", "", False)
    sprite = Sprite("cat", "", GREEN)
    for seed in range(3):
        picture, found = world.compose_outlined(what, sprite, np.random.default_rng(seed), 64)
        assert np.array_equal(picture, world.compose(what, sprite, np.random.default_rng(seed), 64))
        green = (picture[..., 1] > 180) & (picture[..., 0] < 40)
        assert (green == (found > 200)).mean() > 0.98 and 0.05 < green.mean() < 0.6
    _, empty = world.compose_outlined(what, None, np.random.default_rng(0), 64)
    assert not empty.any()


def test_overlap_is_intersection_over_union() -> None:
    one, other = torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)
    one[0, 0, :2], other[0, 0, 1:3] = 1, 0.9
    assert overlaps(one, other).tolist() == [pytest.approx(1 / 3), 0]


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A work folder whose U-Net, VAE and CLIP are the embedded base's."""
    for name, parts in {"unet": ["unet"], "vae": ["vae"], "clip": ["tokenizer"], "text": ["text_encoder"]}.items():
        (tmp_path / name).mkdir()
        for file in (file for part in parts for file in (BASE / part).iterdir()):
            (tmp_path / name / file.name).symlink_to(file)
    names = ["cat", "plush toy", *ACCESSORIES]
    save_sprites([Sprite(name, "", GREEN) for name in names], tmp_path / "world" / "sprites.npz")
    return tmp_path


def test_both_stages_run_and_the_adapter_that_they_write_draws(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read_recipe("cpu")
    short = {name: getattr(whole, name).model_copy(update={"steps": 2, "batch": 2}) for name in ("outline", "control")}
    recipe = whole.model_copy(update=short)
    for module in (outline, control):
        monkeypatch.setattr(module, "TRIED", 2)
    monkeypatch.setattr(control, "STEPS", 2)
    outline.train_outliner(recipe, work)
    control.train_control(recipe, work)
    figures = json.loads((work / "control" / "control.json").read_text())
    assert figures.keys() == {"tried", "overlap", "without", "instrument"}
    files = list((work / "control").glob("diffusion_pytorch_model*"))
    assert [file.name for file in files] == ["diffusion_pytorch_model.safetensors"]
    assert files[0].stat().st_size < 1_500_000
    exported = work / "export"
    exported.mkdir()
    save_outline(work, exported)
    seen = outlines_of(load_outliner(exported / "outline.safetensors"), torch.zeros(2, 3, 64, 64))
    assert seen.shape == (2, 1, 64, 64)
    assert json.loads((exported / "measured.json").read_text())["overlap"] == figures["instrument"]
    net = T2IAdapter.from_pretrained(work / "control")
    first = (work / "control" / "control.state.safetensors").stat().st_mtime_ns
    control.train_control(recipe, work)  # complete: nothing is trained again
    assert (work / "control" / "control.state.safetensors").stat().st_mtime_ns == first

    settings = Control(kind="silhouette")
    shape = Image.new("L", (64, 64))
    shape.paste(255, (16, 16, 48, 56))
    pipe = load_pipeline(BASE, torch.float32, "cpu")
    pictures = []
    for guide in (None, Guide(shape, net.eval(), settings)):
        given = Recipe(control=settings) if guide else Recipe()
        usual = pipe.scheduler
        sampler = RecipeSampler(pipe, "ddim", given, Words("cat", "cat"), guide=guide)
        pictures += [np.asarray(found) for found in sampler.draw([Request("a cat", 1)], 2, 2.0, 64, 1)]
        pipe.scheduler = usual
    assert not np.array_equal(*pictures)


def test_control_is_measured_with_silhouettes_that_likeness_does_not_know_and_that_vary() -> None:
    def photo(name: str, split: str, masked: bool = True) -> Photo:
        mask = f"masks/{name}.png" if masked else None
        return Photo(f"images/{name}.png", name, "", split, "", "a" * 64, "b" * 32, (8, 8), (8, 8), (0, 0, 8, 8), mask)

    photos = [photo("a", "train"), photo("b", "heldout"), photo("c", "train", False), photo("d", "train")]
    prompts = ["1", "2", "3", "4", "5"]
    shapes = silhouettes(photos, prompts)
    first, second = "masks/a.png", "masks/d.png"
    assert shapes == {"1": first, "2": second, "3": second, "4": first}
    assert silhouettes(photos[1:3], prompts) == {} and silhouettes(photos, ["1"]) == {"1": first}
    apart = {prompt: [float(shapes[prompt] == first)] * 2 for prompt in shapes}
    found = estimate(apart, shapes)
    assert (found["value"], found["silhouettes"], found["pictures"]) == (0.5, 2, 8)
    assert (found["low"], found["high"]) == (
        0,
        1,
    )  # all pictures of a silhouette agree: there are two of them, not eight
