"""A subject of one's own in one command: photos, captions and parameters, and nothing lost."""

import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image, ImageDraw, ImageFilter

from pipeline.files import read_jsonl
from pipeline.params import load_params
from pipeline.photos.target import target_of
from pipeline.runs.checks import gate_warnings
from pipeline.runs.dvc import run_dvc
from pipeline.runs.new_subject import NewSubjectError, Wanted, begin_subject, held_out_of, plan_subject
from pipeline.runs.photo_survey import survey_photos
from pipeline.runs.profiles import FOLDER
from pipeline.runs.subject_colours import NAMES, colour_words, name_colours
from tests import tiny
from tests.commands.test_app import dreamtrace
from tests.workspace import git

WANTED = Wanted("gtwlb", "plush owl")
THESIS = FOLDER / "thesis.yaml"  # for bases that no preset has


def photo(seed: int, colour: str = "saddlebrown") -> Image.Image:
    """A blot of one colour before a textured, mostly green scene."""
    scene = Image.blend(tiny.picture(seed, 160, 120), Image.new("RGB", (160, 120), "green"), 0.6)
    ImageDraw.Draw(scene).ellipse((45, 25, 115, 100), fill=colour)
    return scene


@pytest.fixture
def album(tmp_path: Path) -> Callable[[int], Path]:
    """A folder of so many photos, as a phone names them."""

    def make(count: int) -> Path:
        folder = tmp_path / f"album{count}"
        folder.mkdir()
        for index in range(count):
            photo(index).save(folder / f"IMG_{1000 + index}.JPG", quality=95)
        return folder

    return make


@pytest.fixture
def workspace(project: Callable[..., Path]) -> Path:
    folder = project(sample={"suite": "standard"})
    (folder / "dvc.yaml").touch()
    return folder


def test_how_many_are_held_out_follows_from_their_number() -> None:
    assert [held_out_of(count) for count in (0, 4, 5, 6, 7, 8, 11, 12, 40)] == [0, 0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(("count", "held"), [(5, 0), (6, 1), (8, 2)])
def test_photos_without_a_word_become_data_and_parameters(workspace: Path, album, count: int, held: int) -> None:
    begun = begin_subject(plan_subject(str(album(count)), workspace, WANTED), workspace)
    params = load_params(workspace / "params.yaml")
    assert (params.subject.name, params.subject.token, params.subject.class_noun) == ("gtwlb", "gtwlb", "plush owl")
    assert params.subject.animal is None
    assert params.gates.animal is None  # nothing could measure it, and a gate without a measurement does not pass
    assert (params.gates.train_gap is None) == (held == 0)
    assert gate_warnings(params) == []
    assert (params.register_.model, params.register_.experiment) == ("gtwlb", "gtwlb")
    assert "mysks" not in str(params) and "plush toy" not in str(params)
    assert params.prepare.heldout == held == count - begun.plan.survey.trained
    assert {photo.caption for photo in begun.plan.survey.photos} == {"a photo of gtwlb plush owl"}
    assert {photo.given for photo in begun.plan.survey.photos} == {""}
    rows = read_jsonl(workspace / "data" / "metadata.jsonl")
    assert rows[0] == {"file_name": "IMG_1000.JPG", "text": ""} and len(rows) == count
    assert survey_photos(workspace / "data", params, target_of(params)).problems == []
    assert any("photos are few" in warning for warning in begun.plan.survey.warnings) == (count < 8)


def test_what_was_there_is_kept_and_the_same_again_changes_nothing(workspace: Path, album) -> None:
    before = {path.name: path.read_bytes() for path in (workspace / "data").iterdir()}
    mine = (workspace / "params.yaml").read_bytes()
    folder = album(6)
    plan = plan_subject(str(folder), workspace, WANTED)
    assert plan.replaced == [workspace / "data", workspace / "params.yaml"]
    assert (workspace / "params.yaml").read_bytes() == mine  # a plan changes nothing
    begun = begin_subject(plan, workspace)
    assert begun.kept == [workspace / "data.before-1", workspace / "params.before-1.yaml"]
    assert {path.name: path.read_bytes() for path in begun.kept[0].iterdir()} == before
    assert begun.kept[1].read_bytes() == mine
    (workspace / "data" / "metadata.jsonl").write_text('{"file_name": "IMG_1000.JPG", "text": "my owl"}\n')
    again = plan_subject(str(folder), workspace, WANTED)
    assert again.replaced == []
    assert begin_subject(again, workspace).kept == []
    assert "my owl" in (workspace / "data" / "metadata.jsonl").read_text()  # what was written stays


def test_the_gate_of_the_animal_follows_the_subject(workspace: Path, album) -> None:
    folder = str(album(4))
    begin_subject(plan_subject(folder, workspace, WANTED), workspace)
    with_animal = Wanted("gtwlb", "plush owl", animal="owl")
    assert plan_subject(folder, workspace, with_animal).params.gates.animal == load_params(THESIS).gates.animal


def test_captions_that_are_there_are_taken_as_they_are(workspace: Path, album) -> None:
    folder = album(4)
    (folder / "IMG_1000.txt").write_text("my plush owl on a shelf")
    begun = begin_subject(plan_subject(str(folder), workspace, WANTED), workspace)
    photos = {photo.name: photo for photo in begun.plan.survey.photos}
    assert photos["IMG_1000.JPG"].caption == "gtwlb plush owl on a shelf"
    assert photos["IMG_1000.JPG"].given == "my plush owl on a shelf"
    assert not (workspace / "data" / "metadata.jsonl").exists()


def test_a_zip_file_and_a_mask_beside_the_photo_will_do(workspace: Path, album, tmp_path: Path) -> None:
    folder = album(4)
    (folder / "masks").mkdir()
    Image.new("L", (160, 120), 255).save(folder / "masks" / "IMG_1000.png")
    with zipfile.ZipFile(tmp_path / "owl.zip", "w") as archive:
        for path in folder.rglob("*"):
            archive.write(path, Path("owl") / path.relative_to(folder))
    begun = begin_subject(plan_subject(str(tmp_path / "owl.zip"), workspace, WANTED), workspace)
    assert (workspace / "data" / "masks" / "IMG_1000.png").is_file()
    assert any("fills 100% of the picture" in warning for warning in begun.plan.survey.warnings)


def test_all_problems_are_told_at_once_and_nothing_is_written(workspace: Path, album) -> None:
    before = sorted(path.name for path in workspace.iterdir())
    folder = album(3)
    (folder / "IMG_1000.JPG").write_bytes(b"no photo")
    with pytest.raises(NewSubjectError) as refused:
        plan_subject(str(folder), workspace, Wanted("sks", "owl"))
    message = str(refused.value)
    assert "has 3 problems" in message
    assert "--token: 'sks'" in message and "3 photos are not enough" in message and "IMG_1000.JPG: is not" in message
    with pytest.raises(NewSubjectError, match="--token: 'gtwlb_1' ends in an underscore and a number"):
        plan_subject(str(folder), workspace, Wanted("gtwlb_1", "owl"))
    with pytest.raises(NewSubjectError) as refused:
        plan_subject(str(folder), workspace, Wanted("gt wlb", " owl"))
    assert "--token must have 2 to 64 letters" in str(refused.value)
    assert "--class must not begin" in str(refused.value)
    left_out = (folder.name, ".dreamtrace")
    assert sorted(path.name for path in workspace.iterdir() if path.name not in left_out) == before


def test_a_file_that_is_there_twice_is_left_out(workspace: Path, album) -> None:
    folder = album(4)
    (folder / "IMG_1000 (1).JPG").write_bytes((folder / "IMG_1000.JPG").read_bytes())
    begun = begin_subject(plan_subject(str(folder), workspace, WANTED), workspace)
    assert "IMG_1000.JPG: is the same file as IMG_1000 (1).JPG and is left out" in begun.plan.survey.notes
    assert len(list((workspace / "data").glob("*.JPG"))) == 4
    assert not (workspace / ".dreamtrace" / "new").exists()


def test_near_twins_are_held_out_together_or_not_at_all(workspace: Path, album) -> None:
    folder = album(4)
    for copy in range(3):  # of one photo, so that no single photo of it can be held out
        Image.blend(photo(1), photo(3), 0.01 + copy / 100).save(folder / f"copy{copy}.png")
    shutil.rmtree(workspace / "data")
    for path in folder.glob("IMG_*.JPG"):
        if path.name != "IMG_1001.JPG":
            Image.blend(photo(1), photo(2), 0.02).save(path, quality=94 - int(path.stem[-1]))
    plan = plan_subject(str(folder), workspace, WANTED)
    assert plan.params.prepare.heldout == 0  # one scene: holding it out leaves nothing
    assert any("look nearly alike" in warning for warning in plan.survey.warnings)
    assert any("the photos show 1 scene:" in warning for warning in plan.survey.warnings)


def test_a_blurred_photo_is_named(workspace: Path, album) -> None:
    folder = album(5)
    photo(2).filter(ImageFilter.GaussianBlur(6)).save(folder / "IMG_1002.JPG")
    warnings = plan_subject(str(folder), workspace, WANTED).survey.warnings
    assert [warning.partition(":")[0] for warning in warnings if "blurred" in warning] == ["IMG_1002.JPG"]


@pytest.mark.parametrize("colour", ["saddlebrown", "crimson", "navy", "white", "black", "gold"])
def test_the_colour_of_the_subject_is_named(colour: str) -> None:
    plain = {"saddlebrown": "brown", "crimson": "red", "navy": "blue", "gold": "yellow"}
    assert colour_words([(photo(index, colour), None) for index in range(3)], 1) == [plain.get(colour, colour)]


def test_nothing_that_stands_out_has_no_colour() -> None:
    assert colour_words([(Image.new("RGB", (64, 64), "green"), None)], 2) == []
    assert colour_words([], 2) == []


def test_every_colour_has_the_name_that_people_give_it() -> None:
    named = {
        "black": (10, 10, 10), "white": (250, 250, 248), "grey": (128, 128, 130), "red": (220, 20, 30),
        "orange": (255, 140, 0), "brown": (120, 70, 30), "yellow": (250, 230, 40), "green": (30, 150, 40),
        "blue": (30, 60, 200), "purple": (128, 20, 150), "pink": (255, 182, 193),
    }  # fmt: skip
    found = name_colours(np.array([list(named.values())], np.uint8))[0]
    assert [NAMES[index] for index in found] == list(named)


@pytest.mark.parametrize(
    ("name", "pixels"),
    [  # as photos show fur: less saturated, darker in the shade
        ("brown", [(143, 115, 109), (148, 119, 119), (131, 105, 96), (84, 62, 57), (164, 94, 77), (139, 69, 19)]),
        ("beige", [(245, 222, 179), (210, 180, 140), (222, 184, 135), (255, 253, 208), (228, 200, 160)]),
        ("grey", [(105, 105, 112), (150, 150, 145), (90, 92, 96)]),
        ("pink", [(255, 182, 193), (230, 150, 160), (240, 170, 170)]),
        ("orange", [(230, 120, 40), (255, 165, 60)]),
    ],
)
def test_fur_has_the_name_that_people_give_it(name: str, pixels: list[tuple[int, int, int]]) -> None:
    found = name_colours(np.array([pixels], np.uint8))[0]
    assert [NAMES[index] for index in found] == [name] * len(pixels)


@pytest.mark.parametrize(("colour", "words"), [("grey", "grey plush toy"), ("tan", "brown plush toy")])
def test_the_token_starts_from_words_that_pocket_knows(
    workspace: Path, tmp_path: Path, colour: str, words: str
) -> None:
    folder = tmp_path / "toys"
    folder.mkdir()
    for index in range(6):
        photo(index, colour).save(folder / f"{index}.png")
    plan = plan_subject(str(folder), workspace, replace(WANTED, class_noun="plush toy", profile="pocket"))
    assert plan.params.train.token.start_from == words


def test_new_asks_before_it_replaces_and_says_what_comes_next(workspace: Path, album, monkeypatch, capsys) -> None:
    words = ("new", str(album(6)), "--token", "gtwlb", "--class", "plush owl")
    assert dreamtrace(monkeypatch, *words) == 1
    assert "data and params.yaml would be replaced" in capsys.readouterr().err
    git(workspace, "init", "-q")
    run_dvc(workspace, "init", "-q")
    assert dreamtrace(monkeypatch, *words, "--yes", "--name", "owl-of-mine") == 0
    said = capsys.readouterr().out
    assert "5 to train on, 1 held out" in said and 'called "a photo of gtwlb plush owl"' in said
    assert "dreamtrace check" in said and "dreamtrace run" in said and "git add data.dvc" in said
    assert yaml.safe_load((workspace / "data.dvc").read_text())["outs"][0]["path"] == "data"
    assert load_params(workspace / "params.yaml").register_.model == "owl-of-mine"


def test_new_outside_of_a_repository_is_refused(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert dreamtrace(monkeypatch, "new", ".", "--token", "gtwlb", "--class", "owl") == 1
    assert "has no dvc.yaml" in capsys.readouterr().err
