"""The recipe of a registered version: set, used by default, traced from a picture, and taken back."""

import base64
import io
import json
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from pipeline.base.components import load_pipeline
from pipeline.base.resolve import BaseNotFound
from pipeline.commands.generate import draw_files
from pipeline.commands.withdraw import run_withdrawal
from pipeline.files import digest_file, read_json
from pipeline.lineage.deleted import DELETED
from pipeline.params import Base
from pipeline.registry.found import Found
from pipeline.registry.impact import impact
from pipeline.registry.judged_draw import judged_draw
from pipeline.registry.lock import Busy, promotion_lock
from pipeline.registry.lookup import UnknownVersion, find_record, registered_version
from pipeline.registry.recipe_models import RecipeParts, load_others, pinned
from pipeline.registry.recipes import (
    NoEarlierRecipe,
    adopt_searched,
    earlier_recipe,
    give_default,
    recipe_history,
    recipe_in,
    registered_tags,
    set_recipe,
)
from pipeline.registry.search_runs import log_search
from pipeline.registry.served_recipe import kept_models, recipe_of_call
from pipeline.registry.store import StoreSilent, connect
from pipeline.sampling.credentials import read_credentials, signed_picture
from pipeline.sampling.generation_request import GenerationRequestError
from pipeline.sampling.picture_index import INDEX, drawn_from
from pipeline.sampling.recipe import Recipe, RecipeError, read_recipe, recipe_of, without_folders
from pipeline.sampling.signing_authority import signing_identity
from tests.sampling.test_control import disc, t2i_adapter
from tests.sampling.test_reference import FILES, ip_adapter
from tests.tiny import picture

REF = "models:/mysks/1"
CLIP = Base(model="the CLIP", revision=None)
ASKED = {"seed": 1, "count": 1, "steps": 2}


def drawn(workspace: Path, name: str, seed: int = ASKED["seed"], **more) -> np.ndarray:
    draw_files(workspace, REF, "a photo of mysks plush toy", workspace / name, {**ASKED, "seed": seed}, **more)
    with Image.open(workspace / name) as found:
        return np.asarray(found.convert("RGB"))


def answered(served, rows: pd.DataFrame, **params) -> np.ndarray:
    """The one picture that a served model draws."""
    (png,) = served.predict(rows, params=params)
    with Image.open(io.BytesIO(png)) as answer:
        return np.asarray(answer.convert("RGB"))


def registered_recipe(content: str, version: tuple[str, str] | None = None) -> Recipe:
    title, found = registered_tags(content, version)
    return recipe_in(found, title)


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


@pytest.mark.parametrize(
    ("text", "words"),
    [("strenght: 1", "did you mean strength"), ("reference: {}", "it needs a reference picture")],
)
def test_a_recipe_file_is_checked_before_the_weights_are_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    def fetched(*_):
        raise AssertionError("the weights were looked for")

    monkeypatch.setattr("pipeline.registry.lookup.find_record", fetched)
    monkeypatch.setattr("pipeline.sampling.signing_authority.signing_identity", lambda: None)
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(RecipeError, match=words):
        draw_files(tmp_path, REF, "a toy", tmp_path / "a.png", ASKED, recipe=tmp_path / "recipe.yaml")


def test_a_picture_to_start_from_and_its_mask_are_on_record(copy: Path) -> None:
    picture(3, 48, 32).save(copy / "start.png")
    mask = Image.new("L", (48, 32), 0)
    mask.paste(255, (0, 0, 20, 32))
    mask.save(copy / "mask.png")
    found = drawn(copy, "a.png", start=(copy / "start.png", 1.0, copy / "mask.png"))
    with Image.open(copy / "start.png") as start:
        assert np.array_equal(found[:, 12:], np.asarray(start.convert("RGB"))[:, 20:40])
    record = read_credentials(copy / "a.png").record
    assert record["start"].keys() == {"pixels", "whole", "strength", "sha256", "phash"}
    assert record["mask"].keys() == {"pixels", "whole", "sha256"}


def test_a_picture_that_started_from_a_photo_is_followed_by_impact_and_withdrawal(copy: Path, capsys) -> None:
    photo = next(path for path in sorted((copy / "data").iterdir()) if path.suffix == ".jpg")
    with Image.open(photo) as opened:
        opened.save(copy / "smaller.png")
    drawn(copy, "own.png")
    drawn(copy, "from.png", start=(photo, 0.5, None))
    drawn(copy, "near.png", start=(copy / "smaller.png", 0.5, None))
    assert read_credentials(copy / "from.png").record["start"]["sha256"] == digest_file(photo)
    both = {str((copy / name).resolve()) for name in ("from.png", "near.png")}
    assert set(impact(copy, str(photo)).drawn_from) == both
    assert set(impact(copy, digest_file(photo)).drawn_from) == both
    picture(77, 64, 64).save(copy / "other.png")
    assert impact(copy, str(copy / "other.png")).drawn_from == ()
    run_withdrawal(copy, str(photo), "ann", "asked", exact=False, yes=True)
    told = capsys.readouterr().out
    assert all(f"copy: picture that was drawn from it: {file}" in told for file in both)
    for name in (photo, copy / "smaller.png"):
        with pytest.raises(RecipeError, match="a photo that was withdrawn"):
            drawn(copy, "again.png", start=(name, 0.5, None))
    run_withdrawal(copy, str(photo), "ann", "asked", exact=False, yes=True, purge=True)
    assert not any(Path(file).exists() for file in both) and (copy / "own.png").exists()


def test_a_photo_is_followed_as_a_mask_and_through_pictures_that_were_drawn_from_pictures(copy: Path) -> None:
    photo = next(path for path in sorted((copy / "data").iterdir()) if path.suffix == ".jpg")
    picture(5, 64, 64).resize(Image.open(photo).size).save(copy / "start.png")
    drawn(copy, "masked.png", start=(copy / "start.png", 1.0, photo))
    drawn(copy, "first.png", start=(photo, 0.5, None))
    drawn(copy, "second.png", start=(copy / "first.png", 0.5, None))
    drawn(copy, "third.png", start=(copy / "second.png", 0.5, None))
    drawn(copy, "own.png")
    names = {"masked.png", "first.png", "second.png", "third.png"}
    assert {Path(file).name for file in impact(copy, str(photo)).drawn_from} == names
    start = read_credentials(copy / "third.png").record["start"]
    assert start["drawn"]["start"]["drawn"]["start"]["sha256"] == digest_file(photo)  # the picture itself says it
    lines = (copy / INDEX).read_text().splitlines()
    (copy / INDEX).write_text(lines[-2] + "\n")  # a workspace that knows the last of the chain alone
    assert [Path(file).name for file in impact(copy, str(photo)).drawn_from] == ["third.png"]
    run_withdrawal(copy, str(photo), "ann", "asked", exact=False, yes=True)
    for name in ("first.png", "second.png", "third.png"):
        with pytest.raises(RecipeError, match="a photo that was withdrawn"):
            drawn(copy, "again.png", start=(copy / name, 0.5, None))
    with pytest.raises(RecipeError, match="mask is a photo that was withdrawn"):
        drawn(copy, "again.png", start=(copy / "start.png", 1.0, photo))
    with pytest.raises(RecipeError, match="was drawn by a model that was withdrawn"):
        drawn(copy, "again.png", start=(copy / "own.png", 0.5, None))
    picture(6, 64, 64).save(copy / "new.png")
    drawn(copy, "fine.png", start=(copy / "new.png", 0.5, None))


@pytest.mark.parametrize(
    ("size", "value", "words"), [((40, 32), 255, "make them the same"), ((48, 32), 0, "black all over")]
)
def test_a_mask_that_cannot_be_used_is_one_sentence(copy: Path, size: tuple[int, int], value: int, words: str) -> None:
    picture(3, 48, 32).save(copy / "start.png")
    Image.new("L", size, value).save(copy / "mask.png")
    with pytest.raises(RecipeError, match=words):
        drawn(copy, "a.png", start=(copy / "start.png", 1.0, copy / "mask.png"))
    assert not (copy / "a.png").exists()


FOUND = {
    "recipe": {"strength": 0.5},
    "adopted": True,
    "sentence": "The searched recipe is better and becomes the model's own.",
    "search": {"suite": {"name": "mine", "digest": "d" * 64}, "pictures": {"drawn": 40, "planned": 44}},
}


def test_a_searched_recipe_is_adopted_once_and_who_went_back_from_it_is_not_overruled(copy: Path) -> None:
    client = connect(copy)
    assert not adopt_searched(client, "mysks", "1", None, "e" * 64, "ann")
    assert not adopt_searched(client, "mysks", "1", {**FOUND, "adopted": False}, "e" * 64, "ann")
    assert recipe_history(tags(copy)) == []
    assert adopt_searched(client, "mysks", "1", FOUND, "e" * 64, "ann")
    assert recipe_in(tags(copy), "it") == Recipe(strength=0.5)
    changed = drawn(copy, "searched.png")
    with find_record(copy, str(copy / "searched.png")) as traced:
        assert traced.facts["recipe found by a search"].startswith(f"40 pictures on suite mine ({'d' * 16})")
    with find_record(copy, REF) as traced:
        assert "e" * 16 in traced.facts["found by a search"]
    set_recipe(client, "mysks", "1", Recipe(), "bob", "back")
    assert adopt_searched(client, "mysks", "1", FOUND, "e" * 64, "ann")
    assert recipe_in(tags(copy), "it") == Recipe()
    assert adopt_searched(client, "mysks", "1", FOUND, "f" * 64, "ann")  # another search
    assert np.array_equal(drawn(copy, "again.png"), changed)


def test_a_history_keeps_the_newest_lines_that_a_tag_has_room_for(
    bare_version: mlflow.MlflowClient,
) -> None:
    client = bare_version
    prompt = "фотография игрушки " * 100  # six characters each where they are escaped
    regions = [{"place": "left", "prompt": prompt}] * 8
    for number in range(9):
        recipe = recipe_of({"regions": regions, "strength": 1 + number / 10 if number < 6 else 0.5}, "it")
        set_recipe(client, "mysks", "1", recipe, "ann", f"number {number}")
    found = dict(client.get_model_version("mysks", "1").tags)
    why = [line["why"] for line in recipe_history(found)]
    assert why == [f"number {number}" for number in range(9 - len(why), 9)] and len(why) > 1
    assert recipe_in(found, "it").regions[0].prompt == prompt
    with pytest.raises(RecipeError, match="the reason has 2001 characters"):
        set_recipe(client, "mysks", "1", Recipe(), "ann", "x" * 2001)


def test_a_registration_waits_for_a_promotion_and_its_run_may_try_again(
    bare_version: mlflow.MlflowClient,
) -> None:
    client = bare_version
    given = {"given": True, "adopted": True, "recipe": {"strength": 0.7}, "sentence": "as params.yaml says"}
    with promotion_lock(client, "mysks", "bob"):
        late = threading.Thread(target=adopt_searched, args=(client, "mysks", "1", given, "e" * 64, "ann"))
        late.start()
        time.sleep(0.5)
        with pytest.raises(Busy, match="bob is changing it") as caught:  # a person is told at once
            set_recipe(client, "mysks", "1", Recipe(), "ann")
    late.join()
    assert caught.value.status == 75  # a stage that ends so is tried again
    assert recipe_in(dict(client.get_model_version("mysks", "1").tags), "it") == Recipe(strength=0.7)


def test_a_given_recipe_is_adopted_once_and_who_went_back_from_it_is_not_overruled(copy: Path) -> None:
    client, given = connect(copy), {**FOUND, "given": True, "search": {"suite": None, "pictures": {"drawn": 0}}}
    assert not adopt_searched(client, "mysks", "1", {**given, "adopted": False}, "e" * 64, "ann")
    assert adopt_searched(client, "mysks", "1", given, "e" * 64, "ann") == FOUND["sentence"]
    assert recipe_in(tags(copy), "it") == Recipe(strength=0.5)
    assert "already" in adopt_searched(client, "mysks", "1", given, "e" * 64, "ann")
    with find_record(copy, REF) as traced:
        assert "found by a search" not in traced.facts
    set_recipe(client, "mysks", "1", Recipe(), "bob", "back")
    told = adopt_searched(client, "mysks", "1", given, "e" * 64, "ann")
    assert recipe_in(tags(copy), "it") == Recipe()
    assert "keeps" in told and "bob" in told
    adopt_searched(client, "mysks", "1", {**given, "recipe": {"strength": 0.6}}, "e" * 64, "ann")
    assert recipe_in(tags(copy), "it") == Recipe(strength=0.6)


def test_a_recipe_that_a_run_set_goes_when_it_fails_a_gate_that_became_stricter(
    bare_version: mlflow.MlflowClient,
) -> None:
    client = bare_version
    given = {**FOUND, "given": True, "search": {"suite": None, "pictures": {"drawn": 0}}}
    failed = {"adopted": False, "newly_failed": ["style"], "sentence": "style would fail."}

    def present() -> Recipe:
        return recipe_in(dict(client.get_model_version("mysks", "1").tags), "it")

    for judged in (given, FOUND):
        adopt_searched(client, "mysks", "1", judged, "e" * 64, "ann")
        assert present() == Recipe(strength=0.5)
        fails = {**judged, **failed, "digest": present().digest}
        assert not adopt_searched(client, "mysks", "1", {**fails, "digest": "0" * 64}, "e" * 64, "ann")
        assert present() == Recipe(strength=0.5)  # another one failed
        assert "style would fail" in adopt_searched(client, "mysks", "1", fails, "e" * 64, "ann")
        assert present() == Recipe()
        assert adopt_searched(client, "mysks", "1", judged, "e" * 64, "ann")  # the gate is as it was
        assert present() == Recipe(strength=0.5)
        set_recipe(client, "mysks", "1", Recipe(strength=0.5), "bob", "a person's choice")
        assert not adopt_searched(client, "mysks", "1", fails, "e" * 64, "ann")
        assert present() == Recipe(strength=0.5)
        set_recipe(client, "mysks", "1", Recipe(), "bob")


def test_a_model_is_drawn_with_as_it_was_judged_last(copy: Path) -> None:
    client = connect(copy)

    def drawn_with(name: str, **asked) -> np.ndarray:
        draw_files(copy, REF, "a photo of mysks plush toy", copy / name, {"seed": 1, "count": 1, **asked})
        with Image.open(copy / name) as found:
            return np.asarray(found.convert("RGB"))

    before, wanted = drawn_with("before.png"), drawn_with("three.png", steps=3)
    assert not np.array_equal(before, wanted)
    draw = {**judged_draw({"params": {"sample": {"draw": {}}}}, tags(copy)), "steps": 3}
    assert draw.keys() == {"steps", "guidance", "scheduler", "precision"}  # register wrote them
    client.set_model_version_tag("mysks", "1", "draw", json.dumps(draw))
    assert np.array_equal(drawn_with("as-judged.png"), wanted)
    rows = pd.DataFrame({"prompt": ["a photo of mysks plush toy"], "seed": [1]})
    assert np.array_equal(answered(mlflow.pyfunc.load_model(REF), rows), wanted)
    assert read_credentials(copy / "three.png").record["precision"] == draw["precision"]


def test_the_newest_run_counts_also_where_it_comes_back_to_an_earlier_recipe(copy: Path) -> None:
    client, given = connect(copy), {**FOUND, "given": True, "search": {"suite": None, "pictures": {"drawn": 0}}}
    weak = {**given, "recipe": {"strength": 0.4}}
    assert not give_default(client, "mysks", "1", "ann") and recipe_history(tags(copy)) == []
    for judged, strength in ((given, 0.5), (weak, 0.4), (given, 0.5)):
        assert adopt_searched(client, "mysks", "1", judged, "e" * 64, "ann") == FOUND["sentence"]
        assert recipe_in(tags(copy), "it") == Recipe(strength=strength)
    assert give_default(client, "mysks", "1", "ann") and recipe_in(tags(copy), "it") == Recipe()
    assert not give_default(client, "mysks", "1", "ann")
    adopt_searched(client, "mysks", "1", weak, "e" * 64, "ann")
    set_recipe(client, "mysks", "1", Recipe(negative="blurry"), "bob")
    assert not give_default(client, "mysks", "1", "ann")  # bob's choice
    for judged, digest in ((FOUND, "e"), ({**FOUND, "recipe": {"strength": 0.3}}, "f"), (FOUND, "e")):
        assert adopt_searched(client, "mysks", "1", judged, digest * 64, "ann") == FOUND["sentence"]
        assert recipe_in(tags(copy), "it") == recipe_of(judged["recipe"], "it")
    assert not give_default(client, "mysks", "1", "ann")  # a search found it


def test_a_served_model_draws_with_the_recipe_of_its_version(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = connect(copy)
    recipe = Recipe(strength=0.5, steps=3)
    set_recipe(client, "mysks", "1", recipe, "ann")
    served = mlflow.pyfunc.load_model(REF)

    def answer(**params) -> np.ndarray:
        (png,) = served.predict(pd.DataFrame({"prompt": ["a photo of mysks plush toy"], "seed": [1]}), params=params)
        with Image.open(io.BytesIO(png)) as found:
            return np.asarray(found.convert("RGB"))

    draw_files(copy, REF, "a photo of mysks plush toy", copy / "own.png", {"seed": 1, "count": 1})
    with Image.open(copy / "own.png") as found:
        assert np.array_equal(answer(), np.asarray(found.convert("RGB")))
    (copy / "default.yaml").write_text("")
    assert np.array_equal(answer(recipe="{}", steps=2), drawn(copy, "plain.png", recipe=copy / "default.yaml"))
    plain = answer(recipe='{"strength": 0.5}', steps=4)
    assert np.array_equal(answer(steps=4), plain)  # the caller's steps count
    assert np.array_equal(answer(recipe='{"strength": 0.5, "steps": 30}', steps=4), plain)
    (copy / "half.yaml").write_text("strength: 0.5")
    assert np.array_equal(answer(steps=2), drawn(copy, "half.png", recipe=copy / "half.yaml"))  # as judged, and named
    assert registered_recipe("0" * 64) == Recipe()
    (file,) = (copy / "artifacts" / "selected" / "model").glob("lineage.json")
    base = Path(read_json(file)["base"]["model"])
    fresh = mlflow.pyfunc.load_model(REF)
    monkeypatch.setattr("pipeline.registry.recipe_base.resolve_base", gone)
    with pytest.raises(RecipeError, match="need the base, which is not on this machine"):
        fresh.predict(["a photo of mysks"])
    assert base.is_dir()


def test_keys_that_the_guidance_of_a_call_leaves_without_effect_are_refused_everywhere(copy: Path) -> None:
    (copy / "recipe.yaml").write_text("negative: blur")
    with pytest.raises(RecipeError, match="negative: does nothing where guidance is 1"):
        draw_files(copy, REF, "a toy", copy / "a.png", {**ASKED, "guidance": 1.0}, copy / "recipe.yaml")
    with pytest.raises(RecipeError, match="negative: does nothing where guidance is 1"):
        mlflow.pyfunc.load_model(REF).predict(["a toy"], params={"guidance": 1.0, "recipe": '{"negative": "blur"}'})


def test_a_negative_prompt_that_the_guidance_leaves_without_effect_is_refused_by_command_and_server(copy: Path) -> None:
    with pytest.raises(RecipeError, match="negative: does nothing where guidance is 1"):
        draw_files(copy, REF, "a toy", copy / "a.png", {**ASKED, "guidance": 1.0, "negative": "blur"})
    assert not (copy / "a.png").exists()
    with pytest.raises(RecipeError, match="negative: does nothing where guidance is 1"):
        mlflow.pyfunc.load_model(REF).predict(["a toy"], params={"guidance": 1.0, "negative": "blur"})


def test_a_served_model_draws_with_the_recipe_of_the_version_that_was_loaded_and_of_no_other(copy: Path) -> None:
    client = connect(copy)
    version = client.get_model_version("mysks", "1")
    client.create_registered_model("elk")
    client.create_model_version("elk", version.source, version.run_id, tags=version.tags, model_id=version.model_id)
    content = version.tags["content_digest"]
    set_recipe(client, "mysks", "1", Recipe(strength=0.5), "ann")
    set_recipe(client, "elk", "1", Recipe(strength=0.4), "ann")
    for name, strength in (("mysks", 0.5), ("elk", 0.4)):
        assert registered_recipe(content, (name, "1")) == Recipe(strength=strength)
        loaded = mlflow.pyfunc.load_model(f"models:/{name}/1").unwrap_python_model()
        assert loaded.own_recipe == Recipe(strength=strength)
    with pytest.raises(RecipeError, match="elk version 1 and mysks version 1, which are drawn with different recipes"):
        registered_recipe(content)
    set_recipe(client, "elk", "1", Recipe(strength=0.5), "ann")
    assert registered_recipe(content) == Recipe(strength=0.5)


def test_a_store_that_does_not_answer_is_no_reason_to_draw_with_the_default_recipe(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):  # MLflow writes what it is told there
        monkeypatch.setenv(name, "")
    try:
        mlflow.set_tracking_uri("http://127.0.0.1:1")
        mlflow.set_registry_uri("http://127.0.0.1:1")
        with pytest.raises(StoreSilent, match="which recipe this model is drawn with"):
            registered_recipe("0" * 64)
    finally:
        mlflow.set_tracking_uri(before[0])
        mlflow.set_registry_uri(before[1])


def test_a_caller_of_a_served_model_reaches_no_folder_of_the_server_and_no_repository_of_the_hub(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def touched(*_):
        raise AssertionError("a name that a caller sent was looked up")

    for name in ("recipe_control.resolve_control", "recipe_reference.resolve_reference", "recipe_models.find_record"):
        monkeypatch.setattr(f"pipeline.registry.{name}", touched)
    region = {"place": "left", "prompt": "a toy", "model": str(copy / "artifacts" / "model")}
    own = Recipe()
    strange = [
        {"control": {"kind": "edges", "adapter": "somebody/canny"}}, {"control": {"kind": "edges", "adapter": "/etc"}},
        {"reference": {}}, {"regions": [region]}, {"adapters": [{"model": "../other"}]},
        {"adapters": [{"model": "0" * 32}]},
    ]  # fmt: skip
    for recipe in strange:
        with pytest.raises(RecipeError, match=r"a served model (takes no adapter but|draws along with registered)"):
            recipe_of_call(json.dumps(recipe), own, (), {})
    connect(copy)
    served = mlflow.pyfunc.load_model(REF)
    with pytest.raises(RecipeError, match="registered models alone"):
        served.predict(["a toy"], params={"recipe": json.dumps({"regions": [region]})})
    with pytest.raises(RecipeError, match="no braces but"):
        served.predict(["a toy"], params={"recipe": '{"regions": [{"place": "left", "prompt": "a {thing}"}]}'})
    with pytest.raises(GenerationRequestError, match="more than 64 in one call"):
        served.predict(["a toy"] * 5, params={"recipe": '{"best_of": 16}'})


def test_of_the_models_that_callers_name_the_last_two_stay_loaded() -> None:
    loaded: dict[str, str] = {}
    for used in (["own", "a"], ["b"], ["a"], ["c"], ["d", "e", "f"]):
        loaded = kept_models({**loaded, **{one: one for one in used if one not in loaded}}, {"own"}, used)
        if used == ["c"]:
            assert set(loaded) == {"own", "a", "c"}  # a was asked for after b
    assert set(loaded) == {"own", "e", "f"}


def test_a_caller_of_a_served_model_may_change_how_strongly_the_adapter_of_the_version_counts() -> None:
    control = {"kind": "edges", "adapter": "somebody/canny", "revision": "a" * 40, "digest": "d" * 64}
    own = recipe_of({"control": control, "adapters": [{"model": "models:/elk/1", "digest": "e" * 64}]}, "it")
    sent = {"control": {"kind": "edges", "adapter": "somebody/canny", "scale": 0.5}, "strength": 0.8}
    found = recipe_of_call(json.dumps(sent), own, (), {"control": "x"})
    assert found.control is not None and found.strength == 0.8
    assert found.control.model_dump() == recipe_of({"control": {**control, "scale": 0.5}}, "it").control.model_dump()
    for key, value in {"revision": "b" * 40, "digest": "b" * 64}.items():
        with pytest.raises(RecipeError, match=rf"control\.{key}: .* with {control[key]}"):
            recipe_of_call(json.dumps({"control": {**control, key: value}}), own, (), {})
    others = {"adapters": [{"model": "models:/elk/1"}, {"model": "models:/cat@champion"}]}
    assert recipe_of_call(json.dumps(others), own, (), {}).others.keys() == {"models:/elk/1", "models:/cat@champion"}
    assert recipe_of_call('{"control": {"kind": "silhouette"}}', Recipe(), (), {}).control.adapter == "base"
    for key in ("control", "reference"):
        with pytest.raises(RecipeError, match=f"the parameter {key} needs a recipe with the key {key}"):
            recipe_of_call("{}", own, (), {key: "a picture"})


def test_a_caller_is_told_which_part_of_an_adapter_differs_and_no_folder_of_the_server() -> None:
    weights = {"weights": "models/ours.safetensors", "digest": "d" * 64}
    own = recipe_of({"reference": {"adapter": "/srv/secret/ip-adapter", **weights}}, "it")
    with pytest.raises(RecipeError, match="which is ip-adapter") as caught:
        recipe_of_call('{"reference": {}}', own, (), {})
    assert "secret" not in str(caught.value)
    named = {"adapter": "/srv/secret/ip-adapter"}
    with pytest.raises(RecipeError, match=r"reference\.weights: .* models/ours\.safetensors"):
        recipe_of_call(json.dumps({"reference": named}), own, (), {})
    own = recipe_of({"control": {"kind": "edges", "digest": "d" * 64}}, "it")
    with pytest.raises(RecipeError, match=r"control\.digest: "):  # of the adapter beside the embedded base, too
        recipe_of_call(json.dumps({"control": {"kind": "edges", "digest": "e" * 64}}), own, (), {})
    found = recipe_of_call('{"control": {"kind": "edges"}}', own, (), {})
    assert found.control is not None and found.control.digest == "d" * 64


def test_the_best_of_several_drawings_is_chosen_by_the_clip_of_the_record_everywhere(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (copy / "best.yaml").write_text("best_of: 3")
    found = drawn(copy, "best.png", recipe=copy / "best.yaml")
    record = read_credentials(copy / "best.png").record
    chosen = record["best_of"]
    assert (
        record["seed"] == 1
        and len(chosen["seeds"]) == 3
        and chosen["scores"].index(max(chosen["scores"])) == (chosen["seeds"].index(chosen["kept"]))
    )
    (copy / "default.yaml").write_text("")
    assert np.array_equal(found, drawn(copy, "kept.png", recipe=copy / "default.yaml", seed=chosen["kept"]))
    set_recipe(connect(copy), "mysks", "1", Recipe(best_of=3), "ann")
    served = mlflow.pyfunc.load_model(REF)
    rows = pd.DataFrame({"prompt": ["a photo of mysks plush toy"], "seed": [1]})
    assert np.array_equal(answered(served, rows, steps=2), found)
    monkeypatch.setattr(
        "pipeline.registry.recipe_base.resolve_scorer", lambda *_: gone(Base(model="the CLIP", revision=None))
    )
    with pytest.raises(RecipeError, match="best_of 3 needs the CLIP that chooses: the CLIP is gone"):
        drawn(copy, "again.png")


def gone(base, recorded=False):
    raise BaseNotFound(f"{base.model} is gone")


def test_trials_are_child_runs_of_the_training_and_are_made_once(copy: Path) -> None:
    client = connect(copy)
    version = registered_version(copy, REF)
    trial = {"merit": 0.2, "likeness": 0.5, "fidelity": 0.4, "success": None, "failed": [], "parts": []}
    one, other = Recipe(strength=0.5), Recipe()
    rows = [{**trial, "recipe": found.changed, "digest": found.digest} for found in (one, other)]
    search = {
        "proposals": [{"recipe": one.changed, "digest": one.digest, "by": "grid", "words": "strength 0.5"}],
        "rounds": [{"round": 1, "trials": rows}, {"round": 2, "trials": [{**rows[0], "merit": 0.3}]}],
    }
    assert log_search(client, version.run_id, search, "e" * 64) == 2
    assert log_search(client, version.run_id, search, "e" * 64) == 0
    experiment = client.get_run(version.run_id).info.experiment_id
    children = client.search_runs([experiment], f"tags.mlflow.parentRunId = '{version.run_id}'")
    assert sorted(run.info.run_name for run in children) == ["default recipe", "strength 0.5"]
    tried = next(run for run in children if run.info.run_name == "strength 0.5")
    assert tried.data.params == {"strength": "0.5"} and tried.data.metrics["recipe/merit"] == 0.3
    history = client.get_metric_history(tried.info.run_id, "recipe/merit")
    assert [(point.step, point.value) for point in history] == [(1, 0.2), (2, 0.3)]
    assert {run.data.tags["recipe_search"] for run in children} == {"e" * 64}
    assert log_search(client, version.run_id, {"pictures": {"drawn": 0}}, "e" * 64) == 0


def test_a_relative_folder_is_kept_so_that_everybody_can_tell_it_from_a_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = SimpleNamespace(digest="d" * 64, revision=None)
    monkeypatch.setattr("pipeline.registry.recipe_models.control_of", lambda *_: files)
    (tmp_path / "adapters" / "outline").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for name, kept in {"adapters/outline": "./adapters/outline", "somebody/canny": "somebody/canny"}.items():
        recipe = pinned(tmp_path, recipe_of({"control": {"kind": "edges", "adapter": name}}, "it"), {})
        assert recipe.control is not None and recipe.control.adapter == kept
        assert (without_folders(recipe.changed) != recipe.changed) == (name != kept)  # by which publication refuses it


def test_a_recipe_is_pinned_to_a_version_that_has_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = [
        SimpleNamespace(name="a", version="1", tags={DELETED: "{}"}),
        SimpleNamespace(name="b", version="1", tags={}),
        SimpleNamespace(name="b", version="2", tags={}),
    ]
    record = {"weights": {"content_digest": "d" * 64}}
    named = {"models/folder": Found("a folder", record), "models:/b@champion": Found("b", record, version=("b", "2"))}
    monkeypatch.setattr(
        "pipeline.registry.recipe_models.recipe_parts", lambda *_: nullcontext(RecipeParts(named, None))
    )
    monkeypatch.setattr("pipeline.registry.recipe_models.connect", lambda *_: None)
    monkeypatch.setattr("pipeline.registry.recipe_models.versions_with", lambda *_: versions)
    recipe = recipe_of({"adapters": [{"model": name} for name in named]}, "it")
    assert [one.model for one in pinned(tmp_path, recipe, {}).adapters] == ["models:/b/1", "models:/b/2"]
    del versions[1:]
    with pytest.raises(RecipeError, match="models/folder is not registered with its weights"):
        pinned(tmp_path, recipe, {})


def test_a_model_in_a_folder_is_on_record_by_the_last_part_of_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("load_pipeline", "read_model_header"):
        monkeypatch.setattr(f"pipeline.registry.recipe_models.{name}", lambda *_: {})
    subject = {"params": {"subject": {"token": "wuvl", "class_noun": "toy"}}}
    found = {name: Found(name, subject, folder=Path(name)) for name in ("/home/ann/models/wuvl", "wuvl version 1")}
    titles = [other.origin["title"] for other in load_others(found, "fp32").values()]
    assert titles == ["wuvl", "wuvl version 1"]


def test_a_control_picture_and_what_read_it_are_on_record_and_followed(copy: Path, capsys) -> None:
    client, adapter = connect(copy), copy / "adapter"
    t2i_adapter().save_pretrained(adapter)
    photo = next(path for path in sorted((copy / "data").iterdir()) if path.suffix == ".jpg")
    recipe = copy / "recipe.yaml"
    recipe.write_text(f"control: {{kind: silhouette, adapter: '{adapter}'}}")
    plain = drawn(copy, "plain.png")
    with pytest.raises(RecipeError, match="name one with --control"):
        drawn(copy, "a.png", recipe=recipe)
    with pytest.raises(RecipeError, match=r"with the key control.*; the reference picture .* with the key reference"):
        drawn(copy, "a.png", control=photo, reference=photo)
    assert not np.array_equal(drawn(copy, "by-photo.png", recipe=recipe, control=photo), plain)
    disc().save(copy / "disc.png")
    by_shape = drawn(copy, "by-shape.png", recipe=recipe, control=copy / "disc.png")
    record = read_credentials(copy / "by-photo.png").record["control"]
    assert record.keys() == {"kind", "adapter", "revision", "digest", "pixels", "whole", "sha256", "phash"}
    assert record["sha256"] == digest_file(photo)
    with find_record(copy, str(copy / "by-photo.png")) as traced:
        assert record["digest"] in traced.facts["control"]
    assert impact(copy, str(photo)).drawn_from == (str((copy / "by-photo.png").resolve()),)

    with find_record(copy, REF) as found:
        fixed = pinned(copy, read_recipe(recipe), found.lineage)
    assert fixed.control is not None and fixed.control.digest == record["digest"]
    set_recipe(client, "mysks", "1", fixed, "ann")
    served = mlflow.pyfunc.load_model(REF)
    rows = pd.DataFrame({"prompt": ["a photo of mysks plush toy"], "seed": [1]})
    with pytest.raises(RecipeError, match="the parameter control"):
        served.predict(rows, params={"steps": 2})
    coded = base64.b64encode((copy / "disc.png").read_bytes()).decode()
    assert np.array_equal(answered(served, rows, steps=2, control=coded), by_shape)

    run_withdrawal(copy, str(photo), "ann", "asked", exact=False, yes=True)
    both = "picture to start from is a photo that was withdrawn, and the control picture is a photo that was withdrawn"
    with pytest.raises(RecipeError, match=both):  # all of them in one message
        drawn(copy, "again.png", recipe=recipe, control=photo, start=(photo, 0.5, None))
    for weights in adapter.glob("*.safetensors"):
        save_file({name: tensor + 0.01 for name, tensor in load_file(weights).items()}, weights)
    with pytest.raises(RecipeError, match="the recipe was made with"):
        drawn(copy, "again.png", control=copy / "disc.png")


def test_a_reference_picture_and_what_read_it_are_on_record_and_followed(copy: Path) -> None:
    client = connect(copy)
    with find_record(copy, REF) as found:
        adapter = ip_adapter(copy / "adapter", load_pipeline(found.model, torch.float32, "cpu").unet)
    photo = next(path for path in sorted((copy / "data").iterdir()) if path.suffix == ".jpg")
    recipe = copy / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"reference": {"adapter": str(adapter), **FILES}}))
    with pytest.raises(RecipeError, match="name one with --reference"):
        drawn(copy, "a.png", recipe=recipe)
    with pytest.raises(RecipeError, match="needs a recipe with the key reference"):
        drawn(copy, "a.png", reference=photo)
    plain = drawn(copy, "plain.png")
    shown = drawn(copy, "by-photo.png", recipe=recipe, reference=photo)
    assert not np.array_equal(shown, plain)
    record = read_credentials(copy / "by-photo.png").record["reference"]
    assert record.keys() == {"adapter", "revision", "digest", "pixels", "whole", "sha256", "phash"}
    assert record["sha256"] == digest_file(photo)
    with find_record(copy, str(copy / "by-photo.png")) as traced:
        assert record["digest"] in traced.facts["reference"]
    assert impact(copy, str(photo)).drawn_from == (str((copy / "by-photo.png").resolve()),)

    with find_record(copy, REF) as found:
        fixed = pinned(copy, read_recipe(recipe), found.lineage)
    assert fixed.reference is not None and fixed.reference.digest == record["digest"]
    set_recipe(client, "mysks", "1", fixed, "ann")
    served = mlflow.pyfunc.load_model(REF)
    rows = pd.DataFrame({"prompt": ["a photo of mysks plush toy"], "seed": [1]})
    with pytest.raises(RecipeError, match="the parameter reference"):
        served.predict(rows, params={"steps": 2})
    coded = base64.b64encode(photo.read_bytes()).decode()
    assert np.array_equal(answered(served, rows, steps=2, reference=coded), shown)
    # the model that it holds stays as it is
    assert np.array_equal(answered(served, rows, steps=2, recipe="{}"), plain)

    run_withdrawal(copy, str(photo), "ann", "asked", exact=False, yes=True)
    with pytest.raises(RecipeError, match="the reference picture is a photo that was withdrawn"):
        drawn(copy, "again.png", recipe=recipe, reference=photo)
    with pytest.raises(RecipeError, match="the reference picture is a photo that was withdrawn"):
        served.predict(rows, params={"steps": 2, "reference": coded})
    with pytest.raises(RecipeError, match="the reference picture was drawn by a model that was withdrawn"):
        drawn(copy, "again.png", recipe=recipe, reference=copy / "plain.png")
    (adapter / FILES["weights"]).write_bytes(b"other")
    disc().save(copy / "disc.png")
    with pytest.raises(RecipeError, match="the recipe was made with"):
        drawn(copy, "again.png", reference=copy / "disc.png")


def test_an_adapter_that_does_not_fit_a_served_model_is_one_sentence(copy: Path) -> None:
    adapter = copy / "adapter"
    t2i_adapter().save_pretrained(adapter)
    recipe = recipe_of({"control": {"kind": "silhouette", "adapter": str(adapter)}}, "it")
    set_recipe(connect(copy), "mysks", "1", recipe, "ann")
    served = mlflow.pyfunc.load_model(REF)
    disc().save(copy / "disc.png")
    coded = base64.b64encode((copy / "disc.png").read_bytes()).decode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.registry.recipe_control.load_control", unfit)
        with pytest.raises(RecipeError, match="cannot be used with this model: other channels"):
            served.predict(["a toy"], params={"control": coded})


def unfit(*_):
    raise ValueError("other channels")


def test_a_purge_takes_no_picture_that_merely_looks_alike(copy: Path) -> None:
    one, other = picture(5, 64, 64), picture(5, 64, 64)
    other.putpixel((0, 0), (1, 2, 3))
    one.save(copy / "one.png")
    other.save(copy / "other.png")  # of one burst
    drawn(copy, "from-one.png", start=(copy / "one.png", 0.01, None))
    drawn(copy, "from-other.png", start=(copy / "other.png", 0.01, None))
    exactly = drawn_from(copy, {digest_file(copy / "one.png")}, None)
    assert [Path(found.file).name for found in exactly] == ["from-one.png"]
    near = impact(copy, str(copy / "one.png")).drawn_from
    assert {Path(file).name for file in near} == {"from-one.png", "from-other.png"}


def test_shapes_on_black_are_no_copies_of_each_other(copy: Path) -> None:
    picture(3, 48, 48).save(copy / "start.png")
    for number in (0, 1):
        mask = Image.new("L", (48, 48), 0)
        mask.paste(255, (8 + number, 8, 40, 40))
        mask.save(copy / f"mask-{number}.png")
    drawn(copy, "masked.png", start=(copy / "start.png", 1.0, copy / "mask-0.png"))
    assert impact(copy, str(copy / "mask-1.png")).drawn_from == ()
    assert len(impact(copy, str(copy / "mask-0.png")).drawn_from) == 1


@pytest.mark.parametrize(
    "record",
    [
        {"start": "x"}, {"models": 5}, {"models": [5]}, {"start": {"sha256": "ab" * 32, "phash": "zz"}},
        {"content_digest": 3, "start": {"drawn": {"start": {"drawn": 7}}}}, {"start": {"pixels": ["ab" * 32]}},
    ],
)  # fmt: skip
def test_what_a_stranger_wrote_into_a_picture_breaks_nothing(copy: Path, record: dict) -> None:
    content = signed_picture(picture(4, 64, 64), record, "png", signing_identity())
    (copy / "strange.png").write_bytes(content)
    drawn(copy, "from.png", start=(copy / "strange.png", 0.5, None))
    kept = read_credentials(copy / "from.png").record["start"]
    assert "phash" not in kept.get("drawn", {}).get("start", {})
    assert [Path(file).name for file in impact(copy, str(copy / "strange.png")).drawn_from] == ["from.png"]
