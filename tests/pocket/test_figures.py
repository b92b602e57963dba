"""The figures of pocket's model card are taken on the world that its recipe made, and say which one that was."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.pocket import default_work, open_world, spread
from pocket.recipe import HERE
from pocket.world import Sprite, save_sprites
from tests.workspace import ROOT


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A world of two pictures of 16 pixels, made of two toys and a lamp."""
    folder = tmp_path / "work" / "tiny" / "world"
    things = [("plush toy", "brown bear"), ("plush toy", "striped pig"), ("lamp", "")]
    save_sprites([Sprite(*thing, np.zeros((4, 4, 4), np.uint8)) for thing in things], folder / "sprites.npz")
    (folder / "heldout").mkdir()
    np.save(folder / "heldout" / "pictures.npy", np.zeros((2, 16, 16, 3), np.uint8))
    facts = [{"thing": thing, "captions": [f"a {thing}"]} for thing in ("lamp", "plush toy")]
    (folder / "heldout" / "captions.jsonl").write_text("".join(json.dumps(one) + "\n" for one in facts))
    return folder.parent


def test_the_world_is_opened_and_described(work: Path) -> None:
    pictures, world = open_world(work, 16)
    assert (len(pictures), world) == (2, {"pictures": 2, "plush_toys": 1, "size": 16})


def test_a_world_of_another_size_or_none_is_refused(work: Path) -> None:
    with pytest.raises(SystemExit, match=r"have 16 pixels, the base draws 64.*--work"):
        open_world(work, 64)
    with pytest.raises(SystemExit, match=r"python -m pocket.world --recipe gpu --work .*/gpu`"):
        open_world(work.parent / "gpu", 16)


def test_a_channel_that_repeats_another_one_and_a_silent_one_carry_nothing() -> None:
    noise = torch.randn(50, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    assert spread(noise) == pytest.approx([1, 1], abs=0.1)
    latents = torch.cat([noise, -noise[:, :1], torch.zeros(50, 1, 8, 8)], dim=1)
    assert spread(latents) == pytest.approx([8 / 3, 4 / 3, 0, 0], abs=0.1)


def test_it_is_looked_for_where_make_pocket_puts_it() -> None:
    assert "--recipe $(RECIPE) --work pocket/work/$(RECIPE)" in (ROOT / "Makefile").read_text()
    assert default_work() == HERE / "work" / "cpu"


def test_no_configuration_of_the_shipped_networks_says_where_it_was_made() -> None:
    found = [path for path in HERE.rglob("*.json") if "work" not in path.relative_to(HERE).parts]
    assert HERE / "control" / "config.json" in found
    assert [path for path in found if "name_or_path" in path.read_text()] == []
