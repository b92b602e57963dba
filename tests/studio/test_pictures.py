"""Pictures: the way back to the photos, the slider's two layers, previews and candidates by step."""

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.main import get_command

from pipeline.commands.app import app
from pipeline.lineage.deleted import DELETED, Deletion
from pipeline.lineage.tags import WITHDRAWN
from pipeline.registry.overview import VersionFacts
from pipeline.registry.recipes import set_recipe
from pipeline.registry.store import connect
from pipeline.sampling.credentials import signed_picture
from pipeline.sampling.recipe import Recipe, read_recipe
from pipeline.sampling.signing_authority import signing_identity
from pipeline.studio import workplace
from pipeline.studio.picture_rows import problems_of, rows_of, why_no_rows
from pipeline.studio.pictures_page import ROWS
from pipeline.studio.steps_page import figures_of
from pipeline.studio.training_steps import Asked, Sheet, preview_sheets
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
    assert row["sha256"] in back and f"{row['prompt_fidelity']:.3f}" in back and "success:" not in back
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


def test_of_one_picture_success_is_a_yes_or_no() -> None:
    row = {"identity_train": 0.51234, "prompt_fidelity": 1, "copy": None, "success": 1.0}
    found = figures_of(row)
    assert [figure for _, figure in found] == ["0.512", "1.000", "yes"] and found[-1][0] == "shows subject and prompt"
    assert figures_of({"success": 0.0}) == [("shows subject and prompt", "no")]
    assert figures_of({"success": None}) == []


def test_the_slider_lies_over_the_last_two_pictures_of_a_row(judged: Browser) -> None:
    page = judged.get("/pictures")
    layers = re.search(r'<div class="layers"><img src="([^"]+)"[^>]*><img src="([^"]+)"', page)
    assert layers and "/base/" in layers[1] and "/tuned/" in layers[2]
    assert layers[1].rpartition("/")[2] == layers[2].rpartition("/")[2]  # one prompt, one seed
    assert '<input type="range" min="0" max="100"' in page


def test_previews_stand_by_prompt_and_step(judged: Browser, copy: Path) -> None:
    page = judged.get("/steps/mysks/1")
    tiles = re.findall(r'src="(/steps/mysks/1/(\d+)/\w+/(\d+))"', page)
    assert {step for _, step, _ in tiles} == {"3", "4"}
    sheets = {
        int(path.stem[-8:]): Image.open(path).convert("RGB") for path in (copy / ".dreamtrace/previews").iterdir()
    }
    for address, step, number in tiles:
        tile = Image.open(io.BytesIO(judged.client.get(address).content)).convert("RGB")
        left = tile.width * int(number)
        assert sheets[int(step)].crop((left, 0, left + tile.width, tile.height)).tobytes() == tile.tobytes()
    assert judged.client.get("/steps/mysks/1/candidates").headers["content-type"] == "image/png"
    for wrong in ("/steps/mysks/1/9/unnamed/0", f"{tiles[0][0]}9", "/steps/mysks/7", "/steps/nobody/1/3/unnamed/0"):
        assert judged.client.get(wrong).status_code == 400, wrong


def test_previews_of_other_prompts_than_those_of_the_record_stand_under_their_own(judged: Browser, monkeypatch) -> None:
    named = [
        Sheet(1, "aa", "1.png", Asked(("an owl", "a toy"), 5)),
        Sheet(2, "bb", "2.png", Asked(("a toy",), 5)),
        Sheet(3, "unnamed", "3.png", None),
    ]
    monkeypatch.setattr("pipeline.studio.steps_page.preview_sheets", lambda *_: named)
    monkeypatch.setattr("pipeline.studio.steps_page.run_file", lambda *_: Path("none.png"))
    page = judged.get("/steps/mysks/1")
    assert set(cells_of(page)) == {
        ("1/aa/0", "an owl, after step 1"),
        ("1/aa/1", "a toy, after step 1"),
        ("2/bb/0", "a toy, after step 2"),
        ("3/unnamed/sheet", "Previews of unknown prompts after step 3"),
    }
    assert page.count("not drawn") == 1 and "What these sheets were asked for is not known" in page
    assert "seed 5" not in page  # each prompt has one
    assert judged.client.get("/steps/mysks/1/3/unnamed/0").status_code == 400


def cells_of(page: str) -> list[tuple[str, str]]:
    """Where the pictures of a page of previews are, from the step on, and what is said of them."""
    return re.findall(r'src="/steps/mysks/1/(\d[\w/]+)" alt="([^"]+)"', page)


def test_a_prompt_that_was_drawn_with_two_seeds_has_a_row_for_each_also_at_the_same_step(
    judged: Browser, monkeypatch
) -> None:
    sheets = [
        Sheet(1, "aa", "1.png", Asked(("a toy", "an owl"), 5)),
        Sheet(1, "bb", "2.png", Asked(("a toy",), 6)),
        Sheet(2, "bb", "3.png", Asked(("a toy",), 6)),
        Sheet(2, "cc", "4.png", Asked(("a toy",), None)),
    ]
    monkeypatch.setattr("pipeline.studio.steps_page.preview_sheets", lambda *_: sheets)
    page = judged.get("/steps/mysks/1")
    assert cells_of(page) == [
        ("1/aa/0", "a toy, seed 5, after step 1"),
        ("1/bb/0", "a toy, seed 6, after step 1"),
        ("2/bb/0", "a toy, seed 6, after step 2"),
        ("2/cc/0", "a toy, seed not on record, after step 2"),
        ("1/aa/1", "an owl, after step 1"),
    ]


def old_run(workspace: Path, size: tuple[int, int], began_with: list[str], key: str = "preview") -> str:
    """A run that began with these prompts and seed 5, and has one sheet, at step 5."""
    client = connect(workspace)
    run = client.create_run("0").info.run_id
    client.log_param(run, "preview.prompts", str(began_with))
    client.log_param(run, "preview.seed", "5")
    client.log_image(run, Image.new("RGB", size), key=key, step=5, synchronous=True)
    return run


def test_a_sheet_without_prompts_has_those_of_the_record_only_where_the_run_began_with_them_and_it_fits(
    project: Callable[..., Path],
) -> None:
    workspace, prompts = project(), ["a toy", "an owl"]
    for size, began_with, named in (
        ((16, 8), prompts, Asked(tuple(prompts), 5)),
        ((24, 8), prompts, None),
        ((16, 8), ["a toy", "a hut"], None),
    ):
        run = old_run(workspace, size, began_with)
        (sheet,) = preview_sheets(workspace, run, prompts, 5)
        assert (sheet.asked, sheet.assumed) == (named, named is not None)


def test_a_sheet_that_names_prompts_and_no_seed_has_that_of_the_record_only_where_the_run_began_with_it(
    project: Callable[..., Path],
) -> None:
    workspace, digest = project(), "0123456789abcdef"
    run = old_run(workspace, (8, 8), ["a toy"], f"preview-{digest}")
    connect(workspace).log_dict(run, {"prompts": ["a toy"]}, f"previews/{digest}.json")
    for seed, known in ((5, 5), (6, None)):
        (sheet,) = preview_sheets(workspace, run, ["a toy"], seed)
        assert sheet.asked == Asked(("a toy",), known)


def test_the_page_says_which_sheets_stand_under_prompts_that_they_do_not_name(judged: Browser, monkeypatch) -> None:
    asked = Asked(("a toy",), 5)
    named = [Sheet(3, "aa", "3.png", asked), Sheet(4, "unnamed", "4.png", asked, assumed=True)]
    monkeypatch.setattr("pipeline.studio.steps_page.preview_sheets", lambda *_: named)
    assert "The sheets of step 4 do not name their prompts" in judged.get("/steps/mysks/1")
    named.pop()
    assert "do not name their prompts" not in judged.get("/steps/mysks/1")


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
    params = {"base": {"model": "a base"}}
    kept = VersionFiles({"pictures": rows}, {"p01": words}, folder / model, [], params, {}, "", base=base)
    return VersionFacts(model, version, [], "not judged", "", "", None, "", ""), kept


def test_pictures_of_bases_under_one_name_are_told_apart_by_their_content(tmp_path: Path) -> None:
    one, other, same = (facts("mysks", str(n), base, "a toy", tmp_path / str(n)) for n, base in enumerate("aba", 1))
    titles = lambda *found: [cell["title"] for row in rows_of(found, "") for cell in row["cells"]]  # noqa: E731
    assert titles(one, other) == ["base of version 1", "version 1", "version 2"]
    assert titles(one, same) == ["base", "version 1", "version 3"]


def test_the_picture_of_the_base_stands_under_the_words_that_it_was_asked_for(tmp_path: Path) -> None:
    version, kept = facts("mysks", "1", "pocket", "a photo of mysks plush toy", tmp_path)
    (row,) = rows_of([(version, replace(kept, twins={"p01": "a photo of a plush toy"}))], "")
    assert row["words"] == "a photo of mysks plush toy"
    assert [cell["words"] for cell in row["cells"]] == ["a photo of a plush toy", ""]
    (row,) = rows_of([(version, replace(kept, twins={"p01": row["words"]}))], "")  # a prompt without the subject
    assert [cell["words"] for cell in row["cells"]] == ["", ""]


def test_without_a_report_there_is_no_row_but_the_reason(tmp_path: Path) -> None:
    one, (version, kept) = (facts("mysks", n, "pocket", "a toy", tmp_path / n) for n in "12")
    away = version, replace(kept, report=None, without_report="the pictures of mysks version 2 cannot be shown: away")
    assert rows_of([away], "") == [] and why_no_rows([away], "") == "There are no pictures to show."
    assert problems_of([one, away]) == [away[1].without_report]
    assert [cell["title"] for cell in rows_of([one, away], "")[0]["cells"]] == ["base", "version 1"]
    (tmp_path / "1/mysks/tuned/p01-1.png").unlink()
    assert problems_of([one]) == ["1 picture of mysks version 1 is missing from its report"]
    (tmp_path / "1/mysks/base/p01-1.png").unlink()
    assert rows_of([one], "") == [] and why_no_rows([one], "") == "The pictures are missing from the report."


def test_the_page_says_which_of_the_reasons_leaves_it_without_pictures(tmp_path: Path) -> None:
    one, (version, kept) = (facts("mysks", n, "pocket", "a toy", tmp_path / n) for n in "12")

    def why(prompt: str = "", **row: Any) -> str:
        rows = [{"model": "tuned", "prompt_id": "p01", "seed": 1, **row}]
        other = replace(kept, evaluation={"pictures": rows}, prompts={rows[0]["prompt_id"]: "an owl"})
        assert rows_of([one, (version, other)], prompt) == []
        return why_no_rows([one, (version, other)], prompt)

    assert "from different noises" in why(noise=7)
    assert "they have none in common" in why(seed=2) == why(prompt_id="p02")
    assert why("p02", prompt_id="p02") == (
        "mysks version 1 was judged without the prompt “an owl”; choose another one, or all."
    )
    assert why("p03") == "No prompt here is called “p03”; choose one of the list."


def test_past_the_end_the_last_page_is_shown(judged: Browser, copy: Path) -> None:
    images = lambda where: re.findall(r'<figure><img src="(/pictures/of/[^"]+)"', judged.get(where))  # noqa: E731
    count = len({(r["prompt_id"], r["seed"]) for r in evaluation_of(copy)["pictures"] if r["model"] == "tuned"})
    last = (count - 1) // ROWS * ROWS
    assert last and images(f"/pictures?at={last}") == images("/pictures?at=99999") != images("/pictures") != []


def evaluation_of(workspace: Path) -> Any:
    return json.loads((workspace / "reports/evaluation.json").read_text())


@pytest.mark.parametrize(
    ("tag", "value", "why"),
    [
        (WITHDRAWN, "photo 0123 by Ann", "withdrawn: photo 0123 by Ann"),
        (DELETED, Deletion("Eve", "2026-11-28T14:05:00Z", "no room", 5).as_tag(), "weights deleted by Eve"),
    ],
)
def test_nothing_is_drawn_with_a_version_that_is_withdrawn_or_deleted(
    judged: Browser, copy: Path, monkeypatch: pytest.MonkeyPatch, tag: str, value: str, why: str
) -> None:
    monkeypatch.setattr(Workplace, "start_prepared", lambda *_: pytest.fail("it was started"))
    connect(copy).set_model_version_tag("mysks", "1", tag, value)
    page = judged.get("/pictures")
    assert "there is none to draw with" in page and 'action="/pictures/draw"' not in page
    answer = judged.send("/pictures/draw", {"prompt": "a toy", "version": "models:/mysks/1", "seed": "2"})
    assert answer.status_code == 400 and f"draws no more pictures here: {why}" in answer.text


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"seed": "9" * 400}, "seed must be a whole number from 0 to 4294967295"),
        ({"seed": "9" * 5000}, "seed must be a whole number from 0 to 4294967295"),
        ({"seed": "4294967296"}, "seed must be a whole number from 0 to 4294967295"),
        ({"seed": "1e3"}, "the seed must be a whole number"),
        ({"prompt": "x" * 2001}, "2001 characters"),
    ],
)
def test_a_seed_or_prompt_that_cannot_be_drawn_is_refused_before_anything_starts(
    judged: Browser, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str], said: str
) -> None:
    monkeypatch.setattr(Workplace, "start_prepared", lambda *_: pytest.fail("it was started"))
    answer = judged.send("/pictures/draw", {"prompt": "a toy", "version": "models:/mysks/1", "seed": "2", **wrong})
    assert answer.status_code == 400 and said in answer.text


def test_the_pages_say_why_a_grid_a_picture_and_the_candidates_are_not_there(judged: Browser, monkeypatch) -> None:
    back = re.search(r'href="(/back/[^"]+)"', judged.get("/pictures"))
    assert back
    said = "the pictures of mysks version 1 cannot be shown: no such host"
    monkeypatch.setattr("pipeline.studio.version_files.kept_report", lambda *_: (None, "no such host"))
    for page in ("/pictures", "/verdict", "/steps/mysks/1", back[1]):
        assert said in judged.get(page), page
    for file in ("/verdict/grid/mysks/1", "/steps/mysks/1/candidates"):
        assert said in judged.client.get(file).text, file
    assert said in judged.send("/blind/start", {"name": "Eve", "version": "models:/mysks/1", "against": "base"}).text


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
