"""Pictures that were drawn from a withdrawn photo: found wherever they were moved to, and no other file is deleted."""

import json
import shlex
import shutil
from pathlib import Path

import pytest
from PIL import Image

from pipeline.commands.errors import CommandError
from pipeline.commands.withdraw import run_withdrawal
from pipeline.files import digest_file
from pipeline.photos.similarity import perceptual_hash
from pipeline.registry.impact import impact
from pipeline.registry.photo_copies import find_copies
from pipeline.registry.photo_copies import purge as purge_copies
from pipeline.sampling.picture_index import INDEX, remember_picture
from tests import tiny


@pytest.fixture
def workspace(tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace below a folder of its own, with a photo that no version saw and a picture that was drawn from it."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tmp_path / "w"
    (folder / "data").mkdir(parents=True)
    shutil.copy(sqlite_template, folder)
    tiny.picture(7, 64, 64).save(folder / "data" / "photo.png")
    draw(folder, folder / "generated.png")
    return folder


def draw(workspace: Path, file: Path) -> None:
    drawn = tiny.picture(8, 64, 64)
    drawn.save(file)
    photo = {"sha256": digest_file(workspace / "data" / "photo.png")}
    remember_picture(workspace, drawn, {"content_digest": "ab" * 32, "start": photo}, file)


def purge(workspace: Path) -> None:
    found = impact(workspace, str(workspace / "data" / "photo.png"))
    copies = find_copies(workspace, [found.sha256], found.affected, found.drawn_from, found.drawn_sha256)
    assert purge_copies(copies.found) == []


def test_a_new_file_under_the_name_of_a_drawn_picture_stays_and_the_renamed_picture_goes(workspace: Path) -> None:
    (workspace / "generated.png").rename(workspace / "kept.png")
    tiny.picture(9, 64, 64).save(workspace / "generated.png")
    (said,) = impact(workspace, str(workspace / "data" / "photo.png")).drawn_from
    assert said == f"a picture that is no longer at {workspace / 'generated.png'}"
    purge(workspace)
    assert (workspace / "generated.png").is_file() and not (workspace / "kept.png").exists()


@pytest.mark.parametrize("absolute", [False, True])  # as an earlier version wrote them
def test_a_moved_workspace_s_pictures_are_found_and_a_copied_one_leaves_the_original_alone(
    workspace: Path, absolute: bool
) -> None:
    rows = [json.loads(line) for line in (workspace / INDEX).read_text().splitlines()]
    assert [row["file"] for row in rows] == ["generated.png"]
    if absolute:
        rows[0]["file"] = str(workspace / "generated.png")
        (workspace / INDEX).write_text(json.dumps(rows[0]) + "\n")
    moved = workspace.parent / "elsewhere"
    shutil.copytree(workspace, moved)
    purge(moved)
    assert not (moved / "generated.png").exists() and (workspace / "generated.png").is_file()
    assert impact(workspace, str(workspace / "data" / "photo.png")).drawn_from == (str(workspace / "generated.png"),)


def test_a_picture_that_was_drawn_outside_the_workspace_goes_as_long_as_it_is_the_same(workspace: Path) -> None:
    outside = workspace.parent / "desk"
    outside.mkdir()
    for name in ("same.png", "other.png"):
        draw(workspace, outside / name)
    tiny.picture(9, 64, 64).save(outside / "other.png")
    purge(workspace)
    assert not (outside / "same.png").exists() and (outside / "other.png").is_file()


def test_an_interrupted_purge_says_what_finishes_it_with_reason_and_name_and_still_finds_altered_copies(
    workspace: Path,
) -> None:
    photo = workspace / "data" / "photo.png"
    with Image.open(photo) as shown:
        shown.resize((96, 96)).save(workspace / "larger.png")
    altered = {
        "sha256": digest_file(workspace / "larger.png"),
        "phash": f"{perceptual_hash(tiny.picture(7, 64, 64)):016x}",
    }
    drawn = tiny.picture(11, 64, 64)
    drawn.save(workspace / "late.png")
    remember_picture(workspace, drawn, {"content_digest": "ab" * 32, "start": altered}, workspace / "late.png")
    digest = digest_file(photo)
    why = "its owner's wish; $5 `paid`"
    with pytest.raises(CommandError, match="not everything is done") as unfinished:  # DVC is missing here
        run_withdrawal(workspace, str(photo), "ann", why, exact=False, yes=True, purge=True)
    again = str(unfinished.value).partition("run `")[2].partition("`:\n")[0]
    assert shlex.split(again) == ["dreamtrace", "withdraw", digest, "--purge", "--reason", why, "--by", "ann"]
    assert not photo.exists() and not (workspace / "late.png").exists()
    drawn.save(workspace / "late.png")
    assert str(workspace / "late.png") in impact(workspace, digest).drawn_from
    with pytest.raises(CommandError, match="DVC"):
        run_withdrawal(workspace, digest, "ann", "asked", exact=False, yes=True, purge=True)
    assert not (workspace / "late.png").exists()
