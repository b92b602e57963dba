"""Pictures: the way back to the photos, the slider's two layers, previews and candidates by step."""

import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image
from typer.main import get_command

from pipeline.commands.app import app
from pipeline.registry.overview import VersionFacts
from pipeline.registry.recipes import set_recipe
from pipeline.registry.store import connect
from pipeline.sampling.credentials import signed_picture
from pipeline.sampling.recipe import Recipe, read_recipe
from pipeline.sampling.signing_authority import signing_identity
from pipeline.studio import workplace
from pipeline.studio.pictures_page import rows_of
from pipeline.studio.version_files import VersionFiles
from pipeline.studio.workplace import Workplace
from tests import tiny
from tests.studio.browser import Browser


def test_every_picture_leads_back_to_its_photos_and_settings(judged: Browser, copy: Path) -> None:
    page = judged.get("/pictures")
    rows = json.loads((copy / "reports/evaluation.json").read_text())["pictures"]
    where = re.findall(r'href="(/back/mysks/1/([^/"]+)/(\d+))"', page)
    assert where
    address, prompt, seed = where[0]
    set_recipe(connect(copy), "mysks", "1", Recipe(negative="blurry"), "Eve")
    back = judged.get(address)
    row = next(r for r in rows if (r["model"], r["prompt_id"], r["seed"]) == ("tuned", prompt, int(seed)))
    assert row["sha256"] in back and f"{row['prompt_fidelity']:.3f}" in back
    assert "steps 2, guidance 2.0" in back and "negative: blurry" in back
    photos = re.findall(r'src="(/back/mysks/1/photo/of/[^"]+)"', back)
    assert len(photos) == 5 and row["nearest"] in photos[0]  # the nearest one first
    assert all(judged.client.get(photo).headers["content-type"] == "image/png" for photo in photos)
    for wrong in (
        "/back/mysks/1/p99/1",
        "/back/mysks/7/p01/1",
        "/back/mysks/1/photo/of/..%2fgrid.png",
        "/back/a'b/1/p/1",
    ):
        assert judged.client.get(wrong).status_code in (400, 404), wrong


def test_the_slider_lies_over_the_last_two_pictures_of_a_row(judged: Browser) -> None:
    page = judged.get("/pictures")
    layers = re.search(r'<div class="layers"><img src="([^"]+)"[^>]*><img src="([^"]+)"', page)
    assert layers and "/base/" in layers[1] and "/tuned/" in layers[2]
    assert layers[1].rpartition("/")[2] == layers[2].rpartition("/")[2]  # one prompt, one seed
    assert '<input type="range" min="0" max="100"' in page


def test_previews_stand_by_prompt_and_step(judged: Browser, copy: Path) -> None:
    page = judged.get("/steps/mysks/1")
    tiles = re.findall(r'src="(/steps/mysks/1/(\d+)/(\d+))"', page)
    assert {step for _, step, _ in tiles} == {"3", "4"}
    sheets = {
        int(path.stem[-8:]): Image.open(path).convert("RGB") for path in (copy / ".dreamtrace/previews").iterdir()
    }
    for address, step, number in tiles:
        tile = Image.open(io.BytesIO(judged.client.get(address).content)).convert("RGB")
        left = tile.width * int(number)
        assert sheets[int(step)].crop((left, 0, left + tile.width, tile.height)).tobytes() == tile.tobytes()
    assert judged.client.get("/steps/mysks/1/candidates").headers["content-type"] == "image/png"
    for wrong in ("/steps/mysks/1/9/0", "/steps/mysks/1/3/99", "/steps/mysks/7", "/steps/nobody/1/3/0"):
        assert judged.client.get(wrong).status_code == 400, wrong


def test_a_picture_is_drawn_with_the_recipe_of_the_form_and_a_wrong_one_is_told_before(
    judged: Browser, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(Workplace, "start_prepared", lambda self, name, begin: not started.append(list(begin())))
    asked = {"prompt": "a toy", "version": "models:/mysks/1", "seed": "2"}
    wrong = judged.send("/pictures/draw", {**asked, "recipe": "regions:\n  - place: middle\n    prompt: x"})
    assert wrong.status_code == 400 and "regions.0.place: must be left, right" in wrong.text and not started
    judged.send("/pictures/draw", asked)
    judged.send("/pictures/draw", {**asked, "recipe": "regions:\n  - place: left\n    prompt: x"})
    assert "--recipe" not in started[0]
    recipe = read_recipe(copy / started[1][started[1].index("--recipe") + 1])
    assert recipe.regions[0].prompt == "x"
    assert '<textarea id="recipe" name="recipe"' in judged.get("/pictures")


def test_a_prompt_is_never_taken_for_an_option(judged: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(Workplace, "start_prepared", lambda self, name, begin: not started.append(list(begin())))
    asked = {"version": "models:/mysks/1", "seed": "2"}
    for prompt in ("--help", "-a toy", "--out=/tmp/x.png"):
        judged.send("/pictures/draw", {**asked, "prompt": prompt})
        name, *arguments = started.pop()
        command = get_command(app).commands[name]
        assert command.make_context(name, arguments).params["prompt"] == prompt


def recipes_and_pictures(workspace: Path) -> list[str]:
    folder = workspace / ".dreamtrace/studio/drawn"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_a_drawing_that_is_refused_leaves_no_recipe_and_one_that_failed_none_for_the_next(
    judged: Browser, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"prompt": "a toy", "version": "models:/mysks/1", "seed": "2", "recipe": "negative: blurry"}
    wait = "import time; time.sleep(600)"
    monkeypatch.setattr(workplace, "program", lambda *_: [workplace.sys.executable, "-c", wait])
    assert "drawing “a toy” with mysks version 1, seed 2" in judged.send("/pictures/draw", asked).text
    assert recipes_and_pictures(copy) == ["1-recipe.yaml"]
    refused = judged.send("/pictures/draw", {**asked, "recipe": "negative: dark"})
    assert refused.status_code == 400 and "is being drawn already" in refused.text
    assert recipes_and_pictures(copy) == ["1-recipe.yaml"]
    assert read_recipe(copy / ".dreamtrace/studio/drawn/1-recipe.yaml").negative == "blurry"
    for wrong in ({"version": "models:/mysks/7"}, {"version": "models:/nobody/1"}, {"seed": "x"}):
        assert judged.send("/pictures/draw", asked | wrong).status_code == 400
    judged.app.state.place.stop("draw")  # it ends without a picture
    judged.send("/pictures/draw", asked | {"recipe": ""})
    assert recipes_and_pictures(copy) == []
    judged.app.state.place.stop("draw")


def drawn(workspace: Path, name: str, **record: object) -> Path:
    """A signed picture of this record among those that were drawn on the page."""
    file = workspace / ".dreamtrace/studio/drawn" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(signed_picture(tiny.picture(3, 32, 32), record, "png", signing_identity()))
    return file


def test_a_drawn_picture_is_called_by_the_model_prompt_and_seed_of_its_own_record(judged: Browser, copy: Path) -> None:
    content = "0123456789abcdef" * 4
    drawn(copy, "1-v3.png", content_digest=content, title="tarlo version 3", prompt="a <b>toy", seed=7)
    drawn(copy, "2-mysks-v1.png", content_digest=content, prompt="an owl", seed=8, recipe={"negative": "blurry"})
    (copy / ".dreamtrace/studio/drawn/3-mysks-v1.png").write_bytes(b"no picture")
    Image.new("RGB", (32, 32)).save(copy / ".dreamtrace/studio/drawn/4-mysks-v1.png")
    page = judged.get("/pictures")
    told = re.findall(r'src="/pictures/drawn/([^"]+)"[^>]*><figcaption>(.*?)</figcaption>', page)
    captions = dict(told)
    assert captions["1-v3.png"] == "tarlo version 3: a &lt;b&gt;toy, seed 7"
    assert captions["2-mysks-v1.png"] == f"the model {content[:16]}: an owl, seed 8, by a recipe"
    assert captions["3-mysks-v1.png"].startswith("3-mysks-v1.png ") and "cannot be read" in captions["3-mysks-v1.png"]
    assert "it carries no record of what drew it" in captions["4-mysks-v1.png"]
    for name, _ in told:
        assert judged.client.get(f"/pictures/drawn/{name}").status_code == 200


def facts(model: str, version: str, base: str, words: str, folder: Path) -> tuple[VersionFacts, VersionFiles]:
    """A version whose report has one picture of the prompt p01, and one of its base."""
    for kind in ("base", "tuned"):
        (folder / model / kind).mkdir(parents=True)
        (folder / model / kind / "p01-1.png").touch()
    rows = [{"model": "tuned", "prompt_id": "p01", "seed": 1}]
    kept = VersionFiles({"pictures": rows}, {"p01": words}, folder / model, [], {"base": {"model": base}}, {}, "")
    return VersionFacts(model, version, [], "not judged", "", "", None, "", ""), kept


def test_pictures_of_two_models_in_a_row_are_told_apart(tmp_path: Path) -> None:
    first = facts("mysks", "1", "pocket", "a photo of mysks plush toy", tmp_path)
    second = facts("tarlo", "1", "other", "a photo of tarlo owl", tmp_path)
    (row,) = rows_of([first, second], "")
    cells = [(cell["title"], cell["words"]) for cell in row["cells"]]
    assert cells == [
        ("base of mysks version 1", ""),
        ("mysks version 1", ""),
        ("tarlo version 1", second[1].prompts["p01"]),
    ]
    assert row["words"] == "a photo of mysks plush toy"
    (alone,) = rows_of([first], "")
    assert [cell["title"] for cell in alone["cells"]] == ["base", "version 1"]


def test_a_row_names_the_seed_that_draws_its_pictures_again_and_holds_none_from_another(tmp_path: Path) -> None:
    first = facts("mysks", "1", "pocket", "a photo of mysks plush toy", tmp_path / "1")
    second = facts("mysks", "2", "pocket", "a photo of mysks plush toy", tmp_path / "2")
    assert [row["seed"] for row in rows_of([first, second], "")] == [1]  # older versions: the suite's own seed
    first[1].evaluation["pictures"][0]["noise"] = 77
    assert rows_of([first, second], "") == []
    second[1].evaluation["pictures"][0]["noise"] = 77
    assert [row["seed"] for row in rows_of([first, second], "")] == [77]
