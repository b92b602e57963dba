"""Photos by hand: what nobody changed stays as it was written, and what is left out is kept."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.files import read_jsonl
from pipeline.layout import DATA, PARAMS
from pipeline.params import load_params
from pipeline.photos.prepare import PhotosError
from pipeline.runs.photo_desk import LEFT_OUT, DeskError, Edit, leave_out, save_captions
from pipeline.stages import prepare

BY = "a network, approved by ann"
ROWS: list[dict[str, Any]] = [
    {"file_name": "photo0.jpg", "text": "a photo of mysks plush toy, 0", "by": BY, "scene": "desk", "width": 80},
    {"image": "./PHOTO1.jpg", "caption": "a photo of MYSKS plush toy, 1", "by": BY},
    {"file_name": "photo2.jpg", "text": "", "by": BY},
    {"file_name": "photo3.jpg", "tags": ["mysks", "plush toy"]},
]
LINES = [json.dumps(row, separators=(",", ":")) for row in ROWS]


@pytest.fixture
def workspace(project: Callable[..., Path]) -> Path:
    """Six photos, four of them with rows as different tools write them."""
    folder = project(photos=6)
    metadata(folder).write_text("".join(f"{line}\n" for line in LINES))
    return folder


def metadata(workspace: Path) -> Path:
    return workspace / DATA / "metadata.jsonl"


def written(workspace: Path) -> list[str]:
    return metadata(workspace).read_text().splitlines()


def edit(text: str, shown: str, scene: str = "", shown_scene: str = "") -> Edit:
    return Edit(text, scene, shown, shown_scene)


def test_only_what_was_changed_is_written_and_only_a_changed_caption_loses_its_author(workspace: Path) -> None:
    shown = [f"a photo of mysks plush toy, {number}" for number in range(2)]
    save_captions(
        workspace,
        {
            "photo0.jpg": edit("a photo of mysks plush toy in snow", shown[0], "desk", "desk"),
            "photo1.jpg": edit(shown[1], shown[1], "home"),
            "photo2.jpg": edit("", ""),
            "photo4.jpg": edit(" my plush toy ", "", "attic"),
        },
    )
    lines = written(workspace)
    changed = {**ROWS[0], "text": "a photo of mysks plush toy in snow"}
    del changed["by"]
    assert json.loads(lines[0]) == changed
    assert json.loads(lines[1]) == {**ROWS[1], "scene": "home"}
    assert lines[2:4] == LINES[2:]
    assert json.loads(lines[4]) == {"file_name": "photo4.jpg", "text": "my plush toy", "scene": "attic"}
    assert len(lines) == 5
    save_captions(
        workspace,
        {
            "photo0.jpg": edit("", changed["text"], "", "desk"),
            "photo1.jpg": edit("mysks on ice", shown[1], "home", "home"),
        },
    )
    assert json.loads(written(workspace)[0]) == {"file_name": "photo0.jpg", "text": "", "width": 80}
    assert json.loads(written(workspace)[1]) == {"image": "./PHOTO1.jpg", "caption": "mysks on ice", "scene": "home"}


def test_the_record_still_names_who_proposed_after_another_caption_was_saved(workspace: Path) -> None:
    metadata(workspace).write_text("".join(json.dumps(row) + "\n" for row in ROWS[:2]))
    save_captions(workspace, {"photo4.jpg": edit("on a shelf", "")})
    leave_out(workspace, "photo5.jpg")
    prepare.run(workspace, load_params(workspace / PARAMS))
    photos = {row["source"]: row for row in read_jsonl(workspace / "artifacts/prepared/manifest.jsonl")}
    assert [photos[f"photo{number}.jpg"]["caption_by"] for number in (0, 1, 4)] == [BY, BY, None]


def test_lines_that_cannot_be_read_stay_where_they_are(workspace: Path) -> None:
    broken = [
        "{broken",
        '{"file_name": "photo5.jpg", "text": "x", "text": "y"}',
        "3",
        r'{"file_name": "\ud83d", "text": "x"}',
    ]
    metadata(workspace).write_text("\n".join([*LINES, *broken]))
    save_captions(workspace, {"photo0.jpg": edit("mysks", ROWS[0]["text"], "desk", "desk")})
    assert written(workspace)[1:] == [*LINES[1:], *broken]
    leave_out(workspace, "photo1.jpg")
    assert written(workspace)[1:] == [*LINES[2:], *broken]


@pytest.mark.parametrize("indent", [None, 2])
def test_a_list_becomes_lines_with_all_that_its_rows_hold(workspace: Path, indent: int | None) -> None:
    metadata(workspace).write_text(json.dumps(ROWS, indent=indent))
    save_captions(workspace, {"photo5.jpg": edit("mysks", "")})
    assert [json.loads(line) for line in written(workspace)] == [*ROWS, {"file_name": "photo5.jpg", "text": "mysks"}]


def test_what_cannot_be_saved_is_all_named_and_nothing_is_written(workspace: Path) -> None:
    before = metadata(workspace).read_bytes()
    with pytest.raises(DeskError) as caught:
        save_captions(
            workspace,
            {
                "photo0.jpg": edit("mysks here", "mysks there", "desk", "desk"),
                "photo1.jpg": edit("mysks here", "a photo of mysks plush toy, 1"),
                "photo2.jpg": edit("same", "other"),
                "gone.jpg": edit("mysks here", ""),
                "gone-too.jpg": edit("mysks", "mysks"),
            },
        )
    assert str(caught.value).splitlines() == [
        "nothing was saved:",
        "gone.jpg: is no longer among the photos",
        "photo0.jpg: its caption or scene was changed meanwhile; load the page again",
        "photo2.jpg: its caption or scene was changed meanwhile; load the page again",
    ]
    assert metadata(workspace).read_bytes() == before
    for content in (b'{"file_name": "caf\xe9.jpg"}\n', b"[{broken"):
        metadata(workspace).write_bytes(content)
        for act in (
            lambda: save_captions(workspace, {"photo0.jpg": edit("mysks", "")}),
            lambda: leave_out(workspace, "photo0.jpg"),
        ):
            with pytest.raises(DeskError, match="correct the file first"):
                act()
        assert metadata(workspace).read_bytes() == content and (workspace / DATA / "photo0.jpg").is_file()
    (workspace / DATA / "photo1.txt").write_text("mysks")
    with pytest.raises(DeskError, match=r"captions are kept in photo1\.txt: change them there"):
        save_captions(workspace, {"photo1.jpg": edit("x", "mysks")})


def test_what_belongs_to_a_photo_is_left_out_with_it_and_fits_together_there(workspace: Path) -> None:
    data, place = workspace / DATA, workspace / LEFT_OUT
    (data / "masks").mkdir()
    for name in ("photo0.png", "photo1.jpg.png"):
        mask = Image.new("L", (80, 64), 0)
        mask.paste(255, (0, 0, 40, 64))
        mask.save(data / "masks" / name)
    assert leave_out(workspace, "photo0.jpg") == place / "photo0.before-1.jpg"
    leave_out(workspace, "photo1.jpg")
    leave_out(workspace, "photo3.jpg")
    assert written(workspace) == [LINES[2]]
    rows = {row["file_name"]: row for row in read_jsonl(place / "metadata.jsonl")}
    assert rows["photo0.before-1.jpg"] == {**ROWS[0], "file_name": "photo0.before-1.jpg"}
    assert rows["photo1.before-1.jpg"]["caption"] == ROWS[1]["caption"]
    assert sorted(path.name for path in (place / "masks").iterdir()) == [
        "photo0.before-1.jpg.png",
        "photo1.before-1.jpg.png",
    ]
    assert not list((data / "masks").iterdir())
    for number in (0, 4, 5):  # the same name once more
        (data / f"photo{number}.jpg").unlink(missing_ok=True)
    (place / "photo1.before-1.jpg").rename(data / "photo1.jpg")
    (data / "photo1.txt").write_text("mysks")
    assert leave_out(workspace, "photo1.jpg").name == "photo1.before-1.jpg"
    assert (place / "photo1.before-1.txt").read_text() == "mysks" and not (data / "photo1.txt").exists()


def test_a_run_goes_on_without_a_photo_that_had_a_mask(workspace: Path) -> None:
    (workspace / DATA / "masks").mkdir()
    mask = Image.new("L", (80, 64), 0)
    mask.paste(255, (0, 0, 40, 64))
    mask.save(workspace / DATA / "masks" / "photo5.png")
    leave_out(workspace, "photo5.jpg")
    try:
        prepare.run(workspace, load_params(workspace / PARAMS))
    except PhotosError as error:
        pytest.fail(str(error))
