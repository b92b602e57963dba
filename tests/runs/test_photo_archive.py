"""Photos from a zip file: unpacked with care, or refused by name."""

import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.runs.photo_archive import ArchiveError, unpack
from pipeline.runs.photo_sources import fetch_source
from tests import tiny


@pytest.fixture
def zipped(tmp_path: Path) -> Callable[..., Path]:
    def make(names: dict[str, bytes], **entry: int) -> Path:
        with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
            for name, content in names.items():
                info = zipfile.ZipInfo(name)
                for key, value in entry.items():
                    setattr(info, key, value)
                archive.writestr(info, content)
        return tmp_path / "photos.zip"

    return make


def test_a_zip_file_is_a_source_and_the_folder_around_it_is_taken_off(tmp_path: Path, zipped) -> None:
    made = tiny.make_photos(tmp_path / "made", 2)
    names = {f"My bear/{path.name}": path.read_bytes() for path in made.iterdir()}
    names |= {"__MACOSX/My bear/._photo0.jpg": b"x", "My bear/.DS_Store": b"x", "My bear/masks/photo0.png": b"m"}
    folder = fetch_source(str(zipped(names)), tmp_path)
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert found == ["masks/photo0.png", "metadata.jsonl", "photo0.jpg", "photo1.jpg"]
    assert (folder / "photo1.jpg").read_bytes() == (made / "photo1.jpg").read_bytes()


@pytest.mark.parametrize(
    ("name", "entry", "words"),
    [
        ("../a.jpg", {}, "leads outside"),
        ("/etc/a.jpg", {}, "leads outside"),
        ("c:\\a.jpg", {}, "leads outside"),
        ("x" * 300, {}, "too long"),
        ("a.jpg", {"external_attr": (stat.S_IFLNK | 0o777) << 16}, "is a link"),
    ],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, zipped, name, entry, words) -> None:
    with pytest.raises(ArchiveError, match=words):
        unpack(zipped({name: b"x"}, **entry), tmp_path / "to", 10, 100)
    assert not (tmp_path / "to").exists()


def test_every_name_that_leads_elsewhere_is_listed(tmp_path: Path, zipped) -> None:
    archive = zipped({"../a.jpg": b"x", "good.jpg": b"x", "../b.jpg": b"x"})
    with pytest.raises(ArchiveError) as caught:
        unpack(archive, tmp_path / "to", 10, 100)
    said = "is a name that leads outside or is too long"
    assert str(caught.value).splitlines() == [
        f"{archive} cannot be taken as photos:",
        f"  ../a.jpg: {said}",
        f"  ../b.jpg: {said}",
    ]


def test_what_is_no_zip_file_is_damaged_or_too_large_is_refused(tmp_path: Path, zipped) -> None:
    with pytest.raises(ArchiveError, match="more than 10 files"):
        unpack(zipped({"a": b"x" * 101}), tmp_path / "to", 10, 100)
    whole = zipped({"a": b"x" * 100}).read_bytes()
    (tmp_path / "no.zip").write_bytes(whole[:-10])
    with pytest.raises(ArchiveError, match="cannot be unpacked: File is not a zip file"):
        unpack(tmp_path / "no.zip", tmp_path / "to", 10, 100)
    (tmp_path / "bad.zip").write_bytes(whole.replace(b"x" * 100, b"x" * 99 + b"y"))
    with pytest.raises(ArchiveError, match="cannot be unpacked: Bad CRC"):
        unpack(tmp_path / "bad.zip", tmp_path / "to", 10, 100)
    encrypted = bytearray(whole)
    encrypted[6] |= 1  # the flag in the file's own header, and in the directory
    encrypted[whole.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(encrypted)
    with pytest.raises(ArchiveError, match="is encrypted"):
        unpack(tmp_path / "locked.zip", tmp_path / "to", 10, 100)
    assert not (tmp_path / "to").exists()
