"""The identity encoder's stage, from toys and photographs to a folder of weights and its figures."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pocket.identity import NOTHING, Examples, train_identity
from pocket.objects import ACCESSORIES
from pocket.photographs import take_photographs
from pocket.recipe import HERE, read_recipe
from pocket.world import Sprite, save_sprites

SMALL = {"toys": 4, "held_out": 2, "views": 1, "pictures": 40, "photos": 2, "processes": 1, "steps": 2, "batch": 4}


@pytest.mark.slow
def test_the_stage_trains_on_toys_misshapen_ones_and_photographs_and_tells_how_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = read_recipe("cpu")
    recipe = recipe.model_copy(update={"identity": recipe.identity.model_copy(update=SMALL)})
    monkeypatch.setattr("pocket.identity.HELD_OUT", 8)
    green = np.full((8, 8, 4), (0, 200, 0, 255), np.uint8)
    (tmp_path / "world").mkdir()
    save_sprites(
        [Sprite(name, "", green) for name in ("plush toy", "cat", *ACCESSORIES)], tmp_path / "world/sprites.npz"
    )
    shutil.copytree(HERE / "model" / "vae", tmp_path / "vae")
    take_photographs(recipe, tmp_path)
    train_identity(recipe, tmp_path)
    examples = Examples.load(tmp_path / "identity" / "toys.npz")
    assert set(examples.toys) == {0, 1, 2, 3, NOTHING} and 2 <= (examples.toys == NOTHING).sum() <= 18
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {"drawings", "photos", "decoded_with_photos", "misshapen_with_photos"}
    assert all(0 <= figures["area"] <= 1 for figures in told.values())
    weights = load_file(tmp_path / "identity" / "model.safetensors")
    assert all(bool(torch.isfinite(tensor.float()).all()) for tensor in weights.values())
    monkeypatch.delattr("pocket.identity.make_examples")
    train_identity(recipe, tmp_path)  # all of it is there: nothing is drawn again
    again = load_file(tmp_path / "identity" / "model.safetensors")
    assert all(torch.equal(weights[name], again[name]) for name in weights)
