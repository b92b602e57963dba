"""Pictures: the way back to the photos, the slider's two layers, previews and candidates by step."""

import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image
from typer.main import get_command

from pipeline.commands.app import app
from pipeline.registry.recipes import set_recipe
from pipeline.registry.store import connect
from pipeline.sampling.recipe import Recipe, read_recipe
from pipeline.studio.workplace import Workplace
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
    monkeypatch.setattr(Workplace, "start", lambda self, name, arguments: not started.append(list(arguments)))
    asked = {"prompt": "a toy", "version": "models:/mysks/1", "seed": "2"}
    wrong = judged.send("/pictures/draw", {**asked, "recipe": "regions:\n  - place: middle\n    prompt: x"})
    assert wrong.status_code == 400 and "regions.0.place: must be left, right" in wrong.text and not started
    judged.send("/pictures/draw", asked)
    judged.send("/pictures/draw", {**asked, "recipe": "regions:\n  - place: left\n    prompt: x"})
    assert "--recipe" not in started[0]
    recipe = read_recipe(Path(started[1][started[1].index("--recipe") + 1]))
    assert recipe.regions[0].prompt == "x"
    assert '<textarea id="recipe" name="recipe"' in judged.get("/pictures")


def test_a_prompt_is_never_taken_for_an_option(judged: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(Workplace, "start", lambda self, name, arguments: not started.append(list(arguments)))
    asked = {"version": "models:/mysks/1", "seed": "2"}
    for prompt in ("--help", "-a toy", "--out=/tmp/x.png"):
        judged.send("/pictures/draw", {**asked, "prompt": prompt})
        name, *arguments = started.pop()
        command = get_command(app).commands[name]
        assert command.make_context(name, arguments).params["prompt"] == prompt
