"""The recipe of a registered version: set, used by default, traced from a picture, and taken back."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.commands.generate import draw_files
from pipeline.registry.lookup import UnknownVersion, find_record, registered_version
from pipeline.registry.recipes import NoEarlierRecipe, earlier_recipe, recipe_history, recipe_in, set_recipe
from pipeline.registry.store import connect
from pipeline.sampling.credentials import read_credentials
from pipeline.sampling.recipe import Recipe, RecipeError
from tests.tiny import picture

REF = "models:/mysks/1"
ASKED = {"seed": 1, "count": 1, "steps": 2}


def drawn(workspace: Path, name: str, **more) -> np.ndarray:
    draw_files(workspace, REF, "a photo of mysks plush toy", workspace / name, ASKED, **more)
    with Image.open(workspace / name) as found:
        return np.asarray(found.convert("RGB"))


def tags(workspace: Path) -> dict[str, str]:
    return dict(registered_version(workspace, REF).tags)


def test_a_version_is_drawn_with_its_recipe_and_the_picture_leads_to_it(copy: Path) -> None:
    plain = drawn(copy, "plain.png")
    recipe = Recipe(strength=0.5, negative="blurry")
    set_recipe(connect(copy), "mysks", "1", recipe, "ann", "less of the wall")
    changed = drawn(copy, "changed.png")
    assert not np.array_equal(plain, changed)
    found = read_credentials(copy / "changed.png")
    assert found.record["recipe"] == {"strength": 0.5, "negative": "blurry"}
    assert found.record["recipe_digest"] == recipe.digest
    assert "recipe" not in read_credentials(copy / "plain.png").record
    with find_record(copy, str(copy / "changed.png")) as traced:
        assert '"strength": 0.5' in traced.facts["recipe"]
    (copy / "steps.yaml").write_text("steps: 3")
    assert np.array_equal(drawn(copy, "steps.png", recipe=copy / "steps.yaml"), plain)  # the caller's two steps count
    (copy / "default.yaml").write_text("")
    assert np.array_equal(drawn(copy, "default.png", recipe=copy / "default.yaml"), plain)


def test_who_set_which_recipe_is_kept_and_the_one_before_comes_back(copy: Path) -> None:
    client = connect(copy)
    with pytest.raises(NoEarlierRecipe):
        earlier_recipe(tags(copy), "it")
    set_recipe(client, "mysks", "1", Recipe(strength=0.9), "ann")
    set_recipe(client, "mysks", "1", Recipe(strength=0.8), "bob", "softer")
    assert [(line["by"], line["why"]) for line in recipe_history(tags(copy))] == [("ann", ""), ("bob", "softer")]
    assert recipe_in(tags(copy), "it") == Recipe(strength=0.8)
    assert earlier_recipe(tags(copy), "it") == Recipe(strength=0.9)
    client.set_model_version_tag("mysks", "1", "recipe", "{broken")
    with pytest.raises(RecipeError, match="not a recipe"):
        drawn(copy, "a.png")
    with pytest.raises(UnknownVersion, match="not a registered version"):
        registered_version(copy, str(copy))


def test_a_picture_to_start_from_and_its_mask_are_on_record(copy: Path) -> None:
    picture(3, 48, 32).save(copy / "start.png")
    mask = Image.new("L", (48, 32), 0)
    mask.paste(255, (0, 0, 20, 32))
    mask.save(copy / "mask.png")
    found = drawn(copy, "a.png", start=(copy / "start.png", 1.0, copy / "mask.png"))
    with Image.open(copy / "start.png") as start:
        assert np.array_equal(found[:, 12:], np.asarray(start.convert("RGB"))[:, 20:40])
    record = read_credentials(copy / "a.png").record
    assert record["start"].keys() == {"pixels", "strength", "mask"}


@pytest.mark.parametrize(
    ("size", "value", "words"), [((40, 32), 255, "make them the same"), ((48, 32), 0, "black all over")]
)
def test_a_mask_that_cannot_be_used_is_one_sentence(copy: Path, size: tuple[int, int], value: int, words: str) -> None:
    picture(3, 48, 32).save(copy / "start.png")
    Image.new("L", size, value).save(copy / "mask.png")
    with pytest.raises(RecipeError, match=words):
        drawn(copy, "a.png", start=(copy / "start.png", 1.0, copy / "mask.png"))
    assert not (copy / "a.png").exists()
