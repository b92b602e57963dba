"""A picture with two subjects leads to the photos of both, and a photo of the second one leads to the picture."""

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from pipeline.base.components import load_pipeline
from pipeline.base.learned import Learned, write_learned
from pipeline.base.resolve import BaseNotFound
from pipeline.commands.generate import draw_files
from pipeline.commands.recipe import back, check, show, use
from pipeline.commands.trace import show_trace
from pipeline.commands.withdraw import run_withdrawal
from pipeline.files import read_json
from pipeline.params import load_params
from pipeline.registry.examination import examine
from pipeline.registry.found import Found
from pipeline.registry.impact import impact
from pipeline.registry.lookup import find_record, registered_version
from pipeline.registry.recipe_fit import shared_words
from pipeline.registry.recipes import recipe_in
from pipeline.registry.store import connect
from pipeline.sampling.credentials import read_credentials
from pipeline.sampling.recipe import RecipeError, recipe_of
from pipeline.stages import prepare, register, select, train
from tests.sampling.test_control import t2i_adapter
from tests.sampling.test_reference import FILES, ip_adapter
from tests.tiny import make_photos, picture
from tests.workspace import copy_of

FIRST, SECOND = "models:/mysks/1", "models:/wuvl/1"
ASKED = {"seed": 1, "count": 1, "steps": 2}


@pytest.fixture(scope="module")
def pair(origin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose registry has two subjects of one base, each trained on photos of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        folder = copy_of(origin, tmp_path_factory.mktemp("pair") / "w")
        connect(folder)
        text = (folder / "params.yaml").read_text().replace("mysks", "wuvl")
        (folder / "params.yaml").write_text(text)
        shutil.rmtree(folder / "data")
        make_photos(folder / "data", 5, "wuvl")
        for number, file in enumerate(sorted((folder / "data").glob("*.jpg"))):
            picture(50 + number).save(file, quality=95)
        params = load_params(folder / "params.yaml")
        for stage in (prepare, train, select, register):  # the pictures and the verdict are those of the first subject
            stage.run(folder, params)
        (folder / "two.yaml").write_text(yaml.safe_dump({"regions": REGIONS}))
    return folder


REGIONS = [
    {"place": "left", "prompt": "a photo of mysks plush toy"},
    {"place": "right", "prompt": "a photo of wuvl plush toy", "model": SECOND},
]


@pytest.fixture
def both(pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    from mlflow.tracking._tracking_service import utils

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    utils._artifact_repos_cache.clear()
    folder = copy_of(pair, tmp_path / "w")
    monkeypatch.chdir(folder)
    return folder


def drawn(workspace: Path, name: str, **more) -> np.ndarray:
    draw_files(workspace, FIRST, "a photo of two toys", workspace / name, ASKED, **more)
    with Image.open(workspace / name) as found:
        return np.asarray(found.convert("RGB"))


def first_objections(workspace: Path) -> list[str]:
    found = examine(workspace, FIRST)
    return [*found.forbidden, *found.objections]


def photos_of(workspace: Path, ref: str) -> set[str]:
    with find_record(workspace, ref) as found:
        return {photo["sha256"] for photo in found.lineage["photos"]["files"]}


def test_a_picture_with_a_recipe_a_mask_and_a_second_subject_leads_to_every_photo_of_both(
    both: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(3, 32, 32).save("start.png")
    mask = Image.new("L", (32, 32), 0)
    mask.paste(255, (0, 0, 24, 32))
    mask.save("mask.png")
    use(FIRST, Path("two.yaml"), "both", "ann")
    assert recipe_in(dict(registered_version(both, FIRST).tags), "it").regions[1].digest is not None
    drawn(both, "two.png", start=(Path("start.png"), 1.0, Path("mask.png")))
    record = read_credentials(both / "two.png").record
    second = registered_version(both, SECOND).tags["content_digest"]
    assert [model["content_digest"] for model in record["models"]] == [second]
    assert record["start"].keys() == {"pixels", "whole", "strength", "sha256", "phash"}
    assert record["mask"].keys() == {"pixels", "whole", "sha256"}
    capsys.readouterr()
    assert show_trace(both, "two.png", False, False)
    shown = capsys.readouterr().out
    first, other = photos_of(both, FIRST), photos_of(both, SECOND)
    assert len(first) == 5 and len(other) == 5 and not first & other
    assert all(digest in shown for digest in first | other)
    show_trace(both, "two.png", True, True)
    told = json.loads(capsys.readouterr().out)
    assert told["others"][0]["ref"] == "wuvl version 1"
    assert {link["name"].startswith("wuvl version 1: ") for link in told["links"]} == {True, False}


def test_a_photo_of_the_second_subject_leads_to_pictures_and_recipes_and_its_withdrawal_stops_them(
    both: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (both / "plain.yaml").write_text("")
    drawn(both, "before.png")
    drawn(both, "two.png", recipe=Path("two.yaml"))
    use(FIRST, Path("two.yaml"), "both", "ann")
    photo = next((both / "data").glob("*.jpg"))
    assert not any("recipe" in line for line in first_objections(both))
    found = impact(both, str(photo))
    assert [item.name for item in found.affected] == ["wuvl version 1"]
    assert found.drawn_with == (str(both / "two.png"),) and found.recipes == ("mysks version 1",)
    draw_files(both, SECOND, "a photo of wuvl plush toy", both / "other.png", ASKED)
    drawn(both, "later.png", recipe=Path("plain.yaml"), start=(both / "other.png", 0.5, None))
    told = impact(both, str(photo)).drawn_with
    assert {Path(file).name for file in told} == {"two.png", "other.png", "later.png"}
    run_withdrawal(both, str(photo), "ann", "asked", exact=False, yes=True)
    told = capsys.readouterr().out
    assert f"a picture that one of these versions drew, or that such a one went into: {both / 'two.png'}" in told
    assert "The recipe of mysks version 1 draws with a withdrawn version" in told
    assert any("its recipe draws with models:/wuvl/1, which was withdrawn" in line for line in first_objections(both))
    for more in ({}, {"recipe": Path("two.yaml")}):
        with pytest.raises(RecipeError, match="is withdrawn, and nothing is drawn with it"):
            drawn(both, "again.png", **more)
    assert not (both / "again.png").exists()
    drawn(both, "own.png", recipe=Path("plain.yaml"))
    assert "warning" not in capsys.readouterr().err
    draw_files(both, SECOND, "a photo of wuvl plush toy", both / "second.png", ASKED)
    assert "warning: wuvl version 1 is withdrawn" in capsys.readouterr().err


def test_nobody_goes_back_to_a_recipe_that_cannot_be_used_any_more_and_the_history_is_comments_alone(
    both: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (both / "plain.yaml").write_text("")
    use(FIRST, Path("two.yaml"), "both", "ann")
    use(FIRST, Path("plain.yaml"), "one\nstrength: 0.1", "ann")
    capsys.readouterr()
    show(FIRST)
    assert all(line.startswith("#") for line in capsys.readouterr().out.splitlines())
    back(FIRST, "ann")
    assert recipe_in(dict(registered_version(both, FIRST).tags), "it").regions
    back(FIRST, "ann")
    run_withdrawal(both, str(next((both / "data").glob("*.jpg"))), "ann", "asked", exact=False, yes=True)
    with pytest.raises(RecipeError, match="withdrawn"):
        back(FIRST, "ann")
    assert not recipe_in(dict(registered_version(both, FIRST).tags), "it").changed

    monkeypatch.setattr("pipeline.registry.recipe_change.publish_to", lambda _: "s3://somewhere/else")
    monkeypatch.setattr("pipeline.registry.recipe_change.champion_of", lambda *_: "1")
    t2i_adapter().save_pretrained(both / "adapter")
    control = {"control": {"kind": "edges", "adapter": str(both / "adapter")}}
    (both / "here.yaml").write_text(yaml.safe_dump(control))
    with pytest.raises(RecipeError, match="names a folder of this machine"):
        use(FIRST, Path("here.yaml"), "", "ann")
    assert not recipe_in(dict(registered_version(both, FIRST).tags), "it").changed


def test_a_picture_is_verified_only_where_every_model_behind_it_is_known(
    both: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn(both, "two.png", recipe=Path("two.yaml"))
    drawn(both, "later.png", start=(both / "two.png", 0.5, None))
    for name in ("two.png", "later.png"):
        with find_record(both, name) as found:
            assert [one.title for one in found.others] == ["wuvl version 1"] and len(found.own_links) == 1
    second = registered_version(both, SECOND).tags["content_digest"]
    connect(both).delete_registered_model("wuvl")
    for name in ("two.png", "later.png"):
        with find_record(both, name) as found:
            states = {link.name.split()[0]: (link.state, link.detail) for link in found.own_links}
        state, detail = states["model"]
        assert state == "unknown" and second[:16] in detail
        assert not show_trace(both, name, False, True)
        assert second[:16] in capsys.readouterr().out
        assert show_trace(both, name, False, False)  # it is no sign of tampering


def test_a_withdrawn_photo_in_a_folder_that_nobody_registered_stops_it_too(both: Path) -> None:
    folder = both / "artifacts" / "selected" / "model"
    recipe = {"adapters": [{"model": str(folder), "weight": 0.5}]}
    (both / "adapter.yaml").write_text(yaml.safe_dump(recipe))
    drawn(both, "a.png", recipe=Path("adapter.yaml"))
    client = connect(both)
    client.delete_registered_model("wuvl")
    with pytest.raises(RecipeError, match="is not registered"):
        use(FIRST, Path("adapter.yaml"), "", "ann")
    run_withdrawal(both, str(next((both / "data").glob("*.jpg"))), "ann", "asked", exact=False, yes=True)
    with pytest.raises(RecipeError, match="was withdrawn"):
        drawn(both, "b.png", recipe=Path("adapter.yaml"))


def test_what_does_not_fit_is_refused_with_every_reason(both: Path, tiny_base: Path) -> None:
    lineage = both / "artifacts" / "selected" / "model" / "lineage.json"
    record = read_json(lineage)
    record["base"]["digest"] = "0" * 64
    lineage.write_text(json.dumps(record))
    regions = [
        {"place": "left", "prompt": "x", "model": str(lineage.parent)},
        {"place": "right", "prompt": "x", "model": SECOND, "digest": "e" * 64},
        {"place": "top", "prompt": "x", "model": "models:/nobody/3"},
    ]
    (both / "wrong.yaml").write_text(yaml.safe_dump({"regions": regions, "control": {"kind": "edges"}}))
    picture(3).save("control.png")
    with pytest.raises(RecipeError, match="4 problems") as told:
        drawn(both, "a.png", recipe=Path("wrong.yaml"), control=Path("control.png"))
    assert "brings no control adapter" in str(told.value)
    assert "has another base" in str(told.value) and "name the version that has that" in str(told.value)
    assert "the registry has no models:/nobody/3" in str(told.value)
    with pytest.raises(RecipeError, match="4 problems"):
        check(Path("wrong.yaml"), FIRST)
    assert not (both / "a.png").exists()


def test_a_model_may_add_to_itself_in_one_place(both: Path) -> None:
    same = {"adapters": [{"model": FIRST, "place": "top"}]}
    (both / "same.yaml").write_text(yaml.safe_dump(same))
    plain, found = drawn(both, "plain.png"), drawn(both, "more.png", recipe=Path("same.yaml"))
    assert not np.array_equal(plain, found)


def test_a_served_model_draws_two_subjects_as_the_command_does(both: Path) -> None:
    import mlflow

    connect(both)
    served = mlflow.pyfunc.load_model(FIRST)
    rows = pd.DataFrame({"prompt": ["a photo of two toys"], "seed": [1]})
    (png,) = served.predict(rows, params={"steps": 2, "recipe": json.dumps({"regions": REGIONS})})
    with Image.open(io.BytesIO(png)) as found:
        assert np.array_equal(np.asarray(found.convert("RGB")), drawn(both, "two.png", recipe=Path("two.yaml")))
    assert torch.is_inference_mode_enabled() is False


def test_what_no_drawing_could_use_is_refused_where_a_recipe_is_checked_and_set(
    both: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with find_record(both, FIRST) as found:
        unet = load_pipeline(found.model, torch.float32, "cpu").unet
    wrong = t2i_adapter()
    wrong.register_to_config(channels=[16, 48])
    wrong.save_pretrained(both / "control")
    ip_adapter(both / "like", unet, narrower=8)
    recipes = {
        "channels .16, 48., not .16, 32.": {"control": {"kind": "edges", "adapter": str(both / "control")}},
        "cross_attention_dim 24, not 32": {"reference": {"adapter": str(both / "like"), **FILES}},
    }
    for words, recipe in recipes.items():
        (both / "wrong.yaml").write_text(yaml.safe_dump(recipe))
        for refused in (lambda: check(Path("wrong.yaml"), FIRST), lambda: use(FIRST, Path("wrong.yaml"), "", "ann")):
            with pytest.raises(RecipeError, match=words):
                refused()
    (both / "wrong.yaml").write_text("strength: 0.5")
    use(FIRST, Path("wrong.yaml"), "", "ann")
    monkeypatch.setattr("pipeline.registry.recipe_models.base_of", missing)
    for refused in (lambda: check(Path("wrong.yaml"), FIRST), lambda: use(FIRST, Path("wrong.yaml"), "", "ann")):
        with pytest.raises(RecipeError, match="the base is gone"):
            refused()


def missing(*_):
    raise BaseNotFound("the base is gone")


def test_one_token_of_two_models_is_seen_by_their_files(tmp_path: Path) -> None:
    def learned(name: str, *words: str) -> Found:
        (tmp_path / name).mkdir()
        write_learned(tmp_path / name, Learned(words=words, embedding="rows.safetensors"))
        return Found(name, {"weights": {"content_digest": name}}, folder=tmp_path / name)

    others = {"one": learned("a", "mysks", "mysks_1"), "two": learned("b", "wuvl"), "three": learned("c", "wuvl")}
    for adapters, words in {("one",): [], ("two",): ["wuvl"], ("one", "three"): ["wuvl"], ("one", "one"): []}.items():
        recipe = recipe_of({"adapters": [{"model": name} for name in adapters]}, "it")
        found = list(shared_words(recipe, others, tmp_path / "b", "own"))
        assert [word for word in ("mysks", "wuvl") if any(f"'{word}'" in one for one in found)] == words
    apart = [{"model": name, "place": place} for name, place in (("one", "left"), ("three", "right"))]
    assert not list(shared_words(recipe_of({"adapters": apart}, "it"), others, tmp_path / "none", "own"))
