"""Pictures that go into a drawing: what is read of them, what is refused and why, and what they are known by."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image, ImageDraw

from pipeline.registry.recipe_control import control_maker
from pipeline.registry.recipe_inputs import read_input, refuse_withdrawn
from pipeline.registry.recipe_loading import read_start
from pipeline.registry.store import connect
from pipeline.registry.withdrawn_photos import WithdrawnPhoto, record_withdrawn
from pipeline.sampling.picture_index import remember_picture
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


@pytest.fixture
def registry(tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """A client of the empty registry of a workspace."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(sqlite_template, tmp_path)
    return connect(tmp_path)


def keep(workspace: Path, number: int, record: dict[str, Any]) -> Path:
    """A drawn picture that the workspace remembers."""
    file = workspace / f"drawn-{number}.png"
    picture(number, 96, 96).save(file)
    remember_picture(workspace, picture(number, 96, 96), record, file)
    return file


@pytest.mark.parametrize(("name", "options"), [("again.png", {"compress_level": 1}), ("again.jpg", {"quality": 80})])
def test_a_picture_that_was_drawn_from_a_withdrawn_photo_is_refused_when_it_was_saved_again(
    registry: MlflowClient, tmp_path: Path, name: str, options: dict[str, int]
) -> None:
    photo = "a" * 64
    first = keep(tmp_path, 5, {"content_digest": "b" * 64, "start": {"sha256": photo}})
    with Image.open(first) as shown:
        shown.save(tmp_path / name, **options)
    second = read_input(tmp_path / name).origin
    assert "drawn" not in second
    later = keep(tmp_path, 6, {"content_digest": "b" * 64, "start": second})
    refuse_withdrawn(tmp_path, {"picture": second})
    record_withdrawn(registry, [WithdrawnPhoto(photo, None, "ann", "now", "")])
    for origin in (second, read_input(later).origin):
        with pytest.raises(RecipeError, match="the picture was drawn from a photo that was withdrawn"):
            refuse_withdrawn(tmp_path, {"picture": origin})
    refuse_withdrawn(tmp_path, {"picture": read_input(keep(tmp_path, 7, {"content_digest": "b" * 64})).origin})


def test_a_picture_that_a_withdrawn_model_drew_is_refused_by_its_record_and_by_the_index(
    registry: MlflowClient, tmp_path: Path
) -> None:
    content = "b" * 64
    registry.create_registered_model("mysks")
    registry.create_model_version("mysks", str(tmp_path), tags={"content_digest": content})
    origins = [
        {"sha256": "c" * 64, "drawn": {"content_digest": content}},
        {"sha256": "c" * 64, "drawn": {"content_digest": "d" * 64, "start": {"drawn": {"content_digest": content}}}},
        read_input(keep(tmp_path, 5, {"content_digest": content})).origin,
    ]
    for origin in origins:
        refuse_withdrawn(tmp_path, {"picture": origin})
    registry.set_model_version_tag("mysks", "1", "withdrawn", "asked")
    for origin in origins:
        with pytest.raises(RecipeError, match="was drawn by a model that was withdrawn"):
            refuse_withdrawn(tmp_path, {"picture": origin})


def test_a_mask_that_was_drawn_is_recognised_by_its_pixels_though_shapes_look_alike(
    registry: MlflowClient, tmp_path: Path
) -> None:
    drawn = shape((96, 96), (20, 24, 76, 72))
    drawn.save(tmp_path / "drawn.png")
    record = {"content_digest": "b" * 64, "start": {"sha256": "a" * 64}}
    remember_picture(tmp_path, drawn.convert("RGB"), record, tmp_path / "drawn.png")
    drawn.save(tmp_path / "again.png", compress_level=1)
    record_withdrawn(registry, [WithdrawnPhoto("a" * 64, None, "ann", "now", "")])
    origin = read_input(tmp_path / "again.png", control_maker("silhouette")).origin
    assert "phash" not in origin
    with pytest.raises(RecipeError, match="was drawn from a photo"):
        refuse_withdrawn(tmp_path, {"control picture": origin})
