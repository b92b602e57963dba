"""What else lies in a folder of photos: clutter is passed over, sidecars are named, the rest is refused by name."""

import os
import socket
from pathlib import Path

import pytest

from pipeline.photos.file_kinds import printable, sort_files
from tests.photos.test_prepare import caption, prepare, refused
from tests.tiny import make_photos, picture


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_photos(tmp_path / "data", 5)


def test_what_file_managers_leave_is_passed_over(data: Path, capsys) -> None:
    for name in (".DS_Store", "._photo0.jpg", "Thumbs.db", "desktop.ini", "ehthumbs.db", "Icon\r", "README", "LICENSE"):
        (data / name).write_bytes(b"x")
    for name in ("@eaDir", "__MACOSX", ".ipynb_checkpoints", "empty"):
        (data / name).mkdir()
    (data / "@eaDir" / "photo0.jpg").write_bytes(b"x")
    (data / "empty" / ".keep").touch()
    assert len(prepare(data)) == 5
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "name",
    [
        "photo0.MOV", "photo0.mp4", "photo0.AAE", "photo0.xmp", "photo0.jpg.xmp", "photo0.json", "photo0.jpg.json",
        "photo0.jpg.supplemental-metadata.json", "photo0_0512x0512_sd.npz",
    ],
)  # fmt: skip
def test_a_sidecar_of_a_photo_is_named_and_not_used(data: Path, name: str, capsys) -> None:
    (data / name).write_bytes(b"{}")
    assert len(prepare(data)) == 5
    assert f"{name}: belongs to a photo and is not used" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["labels.csv", "dataset.parquet", "captions.json", "captions.jsonl", "list.tsv",
                                  "photo0.cap", "photo0.tags", "photo0.rtf"])  # fmt: skip
def test_a_list_that_is_not_read_is_refused(data: Path, name: str) -> None:
    (data / name).write_bytes(b"")
    assert f"{name}: is not read; captions come from metadata.jsonl, metadata.csv or a text file" in refused(data)


def test_links_are_followed_to_files_alone(data: Path, tmp_path: Path) -> None:
    picture(60).save(tmp_path / "outside.jpg")
    (data / "linked.jpg").symlink_to(tmp_path / "outside.jpg")
    caption(data, "linked.jpg")
    assert len(prepare(data)) == 6
    (data / "broken.jpg").symlink_to("nowhere.jpg")
    (data / "loop.jpg").symlink_to("loop.jpg")
    (data / "more").symlink_to(tmp_path)
    message = refused(data)
    assert "broken.jpg: is a link that leads nowhere" in message
    assert "loop.jpg: is a link that leads nowhere" in message
    assert "more: is a folder" in message


def test_pipes_sockets_and_folders_are_named_and_nothing_waits_for_them(data: Path, monkeypatch) -> None:
    os.mkfifo(data / "pipe.jpg")
    monkeypatch.chdir(data)
    server = socket.socket(socket.AF_UNIX)
    server.bind("socket.jpg")
    (data / "10_mysks toy").mkdir()
    picture(61).save(data / "10_mysks toy" / "more.jpg")
    message = refused(data)
    server.close()
    assert "has 3 problems" in message
    assert "pipe.jpg: is a pipe, a socket or a device" in message
    assert "socket.jpg: is a pipe, a socket or a device" in message
    assert "10_mysks toy: is a folder; photos are read from" in message


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (b"caf\xe9.jpg", "caf\\xe9.jpg: its name is not UTF-8; rename the file"),
        (b"caf\xe9.txt", "caf\\xe9.txt: its name is not UTF-8"),
        (b"two\nlines.jpg", "two\\nlines.jpg: its name holds a line break"),
        (b"bell\x07.png", "bell\\x07.png: its name holds a line break or another control character"),
    ],
)
def test_a_name_that_cannot_be_written_down_is_refused_in_letters_that_can(data: Path, name: bytes, said: str) -> None:
    with open(os.fsencode(data) + b"/" + name, "wb") as file:
        file.write((data / "photo0.jpg").read_bytes())
    message = refused(data)
    assert said in message
    assert message.encode() and message.count("\n") == 1


def test_a_very_long_name_fits_its_prepared_picture(data: Path) -> None:
    for index, end in enumerate("ab"):
        picture(70 + index).save(data / f"{'n' * 250}{end}.jpg")
        caption(data, f"{'n' * 250}{end}.jpg")
    photos = prepare(data)
    assert len({photo.file for photo in photos}) == 7 and max(len(photo.file) for photo in photos) < 120


def test_a_folder_that_cannot_be_listed_is_a_problem(data: Path, monkeypatch) -> None:
    def denied(path: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", denied)
    assert "cannot be listed: Permission denied" in refused(data)


def test_endings_do_not_decide_what_a_photo_is(data: Path) -> None:
    for index, (name, kind) in enumerate([("a.jpe", "JPEG"), ("b.JFIF", "JPEG"), ("c.png", "JPEG"), ("d.jpg", "WEBP")]):
        picture(80 + index).save(data / name, format=kind)
        caption(data, name)
    assert len(prepare(data)) == 9


def test_files_are_sorted_by_their_names_alone() -> None:
    kinds = sort_files(["a.jpg", "a.txt", "a-masklabel.png", "masks/a.png", "Metadata.jsonl", "a.mov", "other/b.jpg"])
    assert (kinds.photos, kinds.captions, kinds.metadata, kinds.sidecars) == (
        ["a.jpg"], ["a.txt"], ["Metadata.jsonl"], ["a.mov"],
    )  # fmt: skip
    assert kinds.masks == ["masks/a.png", "a-masklabel.png"]
    assert printable("a\udce9\n") == "a\\xe9\\n"
