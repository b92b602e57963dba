"""What a recipe is held to by the model that it is used with, as far as records and files say."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import pytest

from pipeline.base.control_adapter import ControlAdapter
from pipeline.base.learned import Learned, write_learned
from pipeline.base.resolve import BaseNotFound
from pipeline.commands.recipe import back, use
from pipeline.registry.found import Found
from pipeline.registry.recipe_fit import shared_words, unfit_control
from pipeline.registry.recipe_loading import refuse_two_recipes, unread_recipe
from pipeline.registry.recipe_models import RecipeParts, recipe_parts
from pipeline.registry.recipes import RecipeChanged, earlier_recipe, recipe_in, set_recipe
from pipeline.registry.served_model import DreamBoothModel
from pipeline.registry.served_recipe import recipe_of_call
from pipeline.sampling.recipe import Recipe, RecipeError, recipe_of

CONTENT = "c" * 64


def found_model(method: str = "dreambooth", guidance: float = 3.0, tags: dict[str, str] | None = None) -> Found:
    draw = {"steps": 12, "guidance": guidance}
    params = {"sample": {"draw": draw}, "train": {"method": method}}
    return Found("mysks version 1", {"params": params, "weights": {"content_digest": CONTENT}}, tags=tags)


@pytest.mark.parametrize(
    ("recipe", "model", "key"),
    [
        ({"negative": "blur"}, found_model(guidance=1.0), "negative"),
        ({"negative": "blur"}, found_model(tags={"draw": json.dumps({"guidance": 1.0})}), "negative"),
        ({"strength": 0.5, "layout_strength": 0.5, "layout_until": 0.95}, found_model(), "strength"),
        ({"token_from": 0.5, "strength": 0.5}, found_model("textual-inversion"), "strength"),
        ({"unconditional": "base"}, found_model("textual-inversion"), "unconditional"),
    ],
)
def test_a_key_that_does_nothing_for_the_model_is_refused_where_a_recipe_is_checked_and_set_and_not_where_it_is_drawn(
    recipe: dict[str, Any], model: Found, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.registry.recipe_models.base_of", lambda *_: None)
    wanted = recipe_of(recipe, "it")
    with (
        pytest.raises(RecipeError, match=f"{key}: does nothing"),
        recipe_parts(tmp_path, wanted, model.lineage, model, written=True),
    ):
        pass
    with recipe_parts(tmp_path, wanted, model.lineage, model):
        pass


@pytest.mark.parametrize("key", ["adapters", "regions"])
def test_a_caller_s_weight_of_a_model_that_has_the_base_s_u_net_is_refused_by_the_server(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def parts(*_: Any) -> Iterator[RecipeParts]:
        yield RecipeParts({"models:/elk/1": found_model("textual-inversion")}, None)

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    monkeypatch.setattr("pipeline.registry.store.is_named", lambda: True)
    monkeypatch.setattr("pipeline.registry.recipe_models.recipe_parts", parts)
    monkeypatch.setattr("pipeline.registry.recipe_models.load_others", lambda found, _: dict.fromkeys(found, "loaded"))
    model = DreamBoothModel()
    model.lineage, model.settings, model.own_recipe = found_model().lineage, {"precision": "fp32"}, Recipe()
    model.others, model.own_others = {}, set()
    more = {"place": "left", "prompt": "x"} if key == "regions" else {}
    half = recipe_of({key: [{**more, "model": "models:/elk/1", "weight": 0.5}]}, "it")
    with pytest.raises(RecipeError, match=rf"{key}\.0\.weight: does nothing: the U-Net of models:/elk/1 is the base's"):
        model._others(half, written=True)
    assert not model.others  # nothing was loaded
    assert model._others(half, written=False)  # a version's own recipe draws, as it was set
    assert model._others(recipe_of({key: [{**more, "model": "models:/elk/1"}]}, "it"), written=True)


def gone(*_: Any) -> None:
    raise BaseNotFound("the CLIP is gone")


def test_a_recipe_that_chooses_by_a_clip_that_is_missing_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    version = SimpleNamespace(name="mysks", version="1", tags={})
    monkeypatch.setattr("pipeline.commands.recipe._version", lambda _: version)
    monkeypatch.setattr("pipeline.registry.recipe_change.find_record", lambda *_: nullcontext(found_model()))
    monkeypatch.setattr("pipeline.registry.recipe_models.recorded_scorer", gone)
    monkeypatch.setattr("pipeline.sampling.recipe.read_recipe", lambda _: Recipe(best_of=3))
    with pytest.raises(RecipeError, match="best_of 3 needs the CLIP that chooses: the CLIP is gone"):
        use("models:/mysks/1", Path("recipe.yaml"))


def test_nobody_goes_back_from_a_recipe_that_was_set_after_the_one_that_was_seen(
    bare_version: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tags() -> dict[str, str]:
        return dict(bare_version.get_model_version("mysks", "1").tags)

    first, second, third = (Recipe(strength=strength) for strength in (0.5, 0.6, 0.7))
    for recipe in (first, second):
        set_recipe(bare_version, "mysks", "1", recipe, "ann")
    assert earlier_recipe(tags(), "it") == first
    seen = bare_version.get_model_version("mysks", "1")
    set_recipe(bare_version, "mysks", "1", third, "bob", "in between")
    with pytest.raises(RecipeChanged, match=rf"not drawn with recipe {second.digest[:16]} any more: bob set another"):
        set_recipe(bare_version, "mysks", "1", first, "ann", seen=second.digest)
    monkeypatch.setattr("pipeline.commands.recipe._version", lambda _: seen)
    monkeypatch.setattr("pipeline.registry.recipe_change.find_record", lambda *_: nullcontext(found_model()))
    monkeypatch.setattr("pipeline.registry.recipe_models.base_of", lambda *_: None)
    monkeypatch.setattr("pipeline.registry.recipe_change.connect", lambda _: bare_version)
    with pytest.raises(RecipeChanged):
        back("models:/mysks/1", "ann")
    assert recipe_in(tags(), "it") == third
    assert set_recipe(bare_version, "mysks", "1", second, "ann", seen=third.digest)


def test_a_reference_that_leads_to_two_versions_with_different_recipes_is_refused(
    bare_version: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = bare_version
    client.create_registered_model("elk")
    client.create_model_version("elk", "/nowhere")
    for name in ("mysks", "elk"):
        client.set_model_version_tag(name, "1", "content_digest", CONTENT)
    monkeypatch.setattr("pipeline.registry.recipe_loading.connect", lambda _: client)
    record = found_model().lineage
    found = Found("elk version 1", record, version=("elk", "1"))
    run, file = "a" * 32, "mysks.safetensors"
    refuse_two_recipes(Path(), run, found)
    set_recipe(client, "mysks", "1", Recipe(strength=0.5), "ann")
    for ref in (run, file):
        with pytest.raises(RecipeError, match="elk version 1 and mysks version 1, which are drawn with different rec"):
            refuse_two_recipes(Path(), ref, found)
    refuse_two_recipes(Path(), "models:/elk/1", found)
    header = {"title": "elk version 1"}
    refuse_two_recipes(Path(), "drawn.png", Found("drawn.png", record, header=header, version=("elk", "1")))
    refuse_two_recipes(Path(), "model", Found("model", record, folder=Path("model")))
    set_recipe(client, "elk", "1", Recipe(strength=0.5), "ann")
    refuse_two_recipes(Path(), run, found)


def test_the_recipe_beside_a_model_folder_or_in_it_is_found(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    found = Found("model", {}, folder=tmp_path / "model")
    assert unread_recipe(found) is None and unread_recipe(Found("version", {})) is None
    (tmp_path / "model" / "recipe.yaml").write_text("steps: 3")
    assert unread_recipe(found) == tmp_path / "model" / "recipe.yaml"
    (tmp_path / "recipe.yaml").write_text("steps: 3")
    assert unread_recipe(found) == tmp_path / "recipe.yaml"


@pytest.mark.parametrize("key", ["adapters", "regions"])
def test_a_caller_s_other_model_is_held_to_the_digest_that_the_version_pins(key: str) -> None:
    more = {"place": "left", "prompt": "x"} if key == "regions" else {}
    own = recipe_of({"adapters": [{"model": "models:/elk/1", "digest": "e" * 64}]}, "it")
    sent = [{**more, "model": "models:/elk/1"}, {**more, "model": "models:/cat/1"}]
    found = recipe_of_call(json.dumps({key: sent}), own, (), {})
    assert found.others == {"models:/elk/1": "e" * 64, "models:/cat/1": None}
    strange = json.dumps({key: [{**sent[0], "digest": "f" * 64}]})
    with pytest.raises(RecipeError, match=f"'models:/elk/1': .* with digest {'e' * 64}"):
        recipe_of_call(strange, own, (), {})


def test_a_token_that_another_model_s_token_would_swallow_is_seen_by_their_files(tmp_path: Path) -> None:
    def learned(name: str, *words: str) -> Found:
        (tmp_path / name).mkdir()
        write_learned(tmp_path / name, Learned(words=words, embedding="rows.safetensors"))
        return Found(name, {"weights": {"content_digest": name}}, folder=tmp_path / name)

    own = learned("own", "mysks")
    others = {"one": learned("a", "mysks_1"), "two": learned("b", "MYSKS"), "three": learned("c", "wuvl")}
    told = {"one": "'mysks_1' of one model would be read as a further vector", "two": "differ in case alone"}
    for name in others:
        recipe = recipe_of({"adapters": [{"model": name}]}, "it")
        found = list(shared_words(recipe, others, own.folder or tmp_path, "own"))
        assert [told[name] in problem for problem in found] == [True] * (name in told)
    apart = recipe_of({"regions": [{"place": "left", "prompt": "x", "model": "one"}]}, "it")
    assert not list(shared_words(apart, others, own.folder or tmp_path, "own"))  # each reads its own prompt


def test_a_control_adapter_is_no_misfit_where_the_model_s_files_do_not_say(tmp_path: Path) -> None:
    def configure(part: str, **values: Any) -> None:
        (tmp_path / part).mkdir(exist_ok=True)
        (tmp_path / part / "config.json").write_text(json.dumps(values))

    configure("adapter", _class_name="T2IAdapter", channels=[16, 32], downscale_factor=4)
    configure("unet", block_out_channels=[16, 32])
    adapter = ControlAdapter("it", None, tmp_path / "adapter", "d" * 64)
    assert unfit_control(adapter, tmp_path) is None
    configure("vae", block_out_channels=None)
    assert unfit_control(adapter, tmp_path) is None
    configure("vae", block_out_channels=[16, 16])
    assert "pixels in a side of a latent 4, not 2" in str(unfit_control(adapter, tmp_path))
    (tmp_path / "unet" / "config.json").unlink()
    assert unfit_control(adapter, tmp_path) is None
