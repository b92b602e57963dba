"""Pictures that go into a drawing: what is read of them, what is refused and why, and what they are known by."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipeline.registry.recipe_control import control_maker
from pipeline.registry.recipe_inputs import read_input
from pipeline.registry.recipe_loading import read_start
from pipeline.sampling.recipe import RecipeError
from tests.commands.test_app import dreamtrace
from tests.tiny import picture


def shape(size: tuple[int, int], box: tuple[int, int, int, int], kind: str = "rectangle") -> Image.Image:
    found = Image.new("L", size, 0)
    getattr(ImageDraw.Draw(found), kind)(box, fill=255)
    return found


def test_a_mask_that_is_white_only_where_the_picture_is_cut_off_is_refused(tmp_path: Path) -> None:
    picture(3, 128, 64).save(tmp_path / "photo.png")
    for left, name in ((0, "outside.png"), (40, "inside.png")):
        shape((128, 64), (left, 0, left + 19, 63)).save(tmp_path / name)
    with pytest.raises(RecipeError, match="black in the square about its middle"):
        read_start(tmp_path / "photo.png", 1.0, tmp_path / "outside.png")
    assert read_start(tmp_path / "photo.png", 1.0, tmp_path / "inside.png").mask is not None


@pytest.mark.parametrize("ground", [(255, 255, 255, 0), (0, 0, 0, 0), (9, 200, 30, 0)])
def test_white_paint_on_a_transparent_ground_is_white_only_where_the_paint_is(
    tmp_path: Path, ground: tuple[int, int, int, int]
) -> None:
    picture(3, 64, 64).save(tmp_path / "photo.png")
    painted = shape((64, 64), (8, 8, 31, 31))
    mask = Image.new("RGBA", (64, 64), ground)
    mask.paste((255, 255, 255, 255), mask=painted)
    mask.save(tmp_path / "mask.png")
    found = read_start(tmp_path / "photo.png", 1.0, tmp_path / "mask.png").mask
    assert np.array_equal(np.asarray(found), np.asarray(painted))
    mask = Image.new("RGBA", (64, 64), ground)
    mask.paste((0, 0, 0, 255), mask=painted)
    mask.save(tmp_path / "black.png")
    with pytest.raises(RecipeError, match="black all over"):
        read_start(tmp_path / "photo.png", 1.0, tmp_path / "black.png")


@pytest.mark.parametrize("strength", [0.0, float("nan"), -0.1, 1.5])
def test_a_strength_that_draws_nothing_or_is_no_share_is_refused(tmp_path: Path, strength: float) -> None:
    picture(3, 64, 64).save(tmp_path / "photo.png")
    with pytest.raises(RecipeError, match="--start-strength must be above 0"):
        read_start(tmp_path / "photo.png", strength, None)


@pytest.mark.parametrize("option", ["--start-strength", "--guidance"])
def test_what_is_not_a_number_is_no_number_of_the_command_line(
    option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert dreamtrace(monkeypatch, "generate", "a toy", "--model", "models:/mysks/1", option, "nan") != 0
    assert option in capsys.readouterr().err


@pytest.mark.parametrize("more", [["--start-strength", "0.5"], ["--mask", "mask.png"]])
def test_what_belongs_to_a_picture_to_start_from_is_refused_without_one(
    more: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert dreamtrace(monkeypatch, "generate", "a toy", "--model", "models:/mysks/1", *more) != 0
    assert f"{more[0]} needs --start" in capsys.readouterr().err


def test_an_age_that_is_not_a_number_removes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in (["clean"], ["runs", "clean"]):
        assert dreamtrace(monkeypatch, *command, "--days", "nan") != 0
        assert "--days" in capsys.readouterr().err


def test_limits_of_photos_are_not_blamed_for_other_pictures(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "tiny.png")
    with pytest.raises(RecipeError, match="the shorter side must have 8 pixels") as refused:
        read_input(tmp_path / "tiny.png")
    assert "prepare." not in str(refused.value)


def test_a_control_picture_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    shape((128, 64), (0, 10, 20, 50)).save(tmp_path / "left.png")
    with pytest.raises(RecipeError, match="has no silhouette in the square about its middle"):
        read_input(tmp_path / "left.png", control_maker("silhouette"))


def test_shapes_in_black_and_white_are_known_by_their_file_alone_and_photos_by_their_look_too(tmp_path: Path) -> None:
    for kind in ("ellipse", "rectangle"):
        shape((96, 96), (20, 24, 76, 72), kind).save(tmp_path / f"{kind}.png")
        assert "phash" not in read_input(tmp_path / f"{kind}.png", control_maker("silhouette")).origin
    photo = picture(3, 96, 96)
    photo.putalpha(shape((96, 96), (20, 24, 76, 72)))
    photo.save(tmp_path / "photo.png")
    assert "phash" in read_input(tmp_path / "photo.png", control_maker("silhouette")).origin
