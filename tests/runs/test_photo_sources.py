"""Photos from a folder or from a prefix of a real S3 server."""

import fcntl
import threading
from hashlib import md5
from pathlib import Path

import pytest

from pipeline.runs import photo_sources
from pipeline.runs.photo_sources import SourceError, copy_photos, fetch_source
from pipeline.storage import s3
from tests import tiny
from tests.services.fixtures import Bucket


def test_a_folder_is_itself_and_must_hold_photos(tmp_path: Path) -> None:
    tiny.make_photos(tmp_path / "photos", 2)
    assert fetch_source(str(tmp_path / "photos"), tmp_path) == tmp_path / "photos"
    with pytest.raises(SourceError, match=r"neither a folder, nor a \.zip file, nor an s3:// prefix"):
        fetch_source(str(tmp_path / "nowhere"), tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="there is no photo in"):
        fetch_source(str(tmp_path / "empty"), tmp_path)


def test_all_that_cannot_be_taken_is_named_at_once(tmp_path: Path) -> None:
    folder = tiny.make_photos(tmp_path / "photos", 2)
    (folder / "gone.jpg").symlink_to(tmp_path / "nowhere")
    (folder / "notes.docx").write_bytes(b"x")
    (folder / "more").mkdir()
    (folder / "more" / "a.jpg").write_bytes(b"x")
    for take in (lambda: fetch_source(str(folder), tmp_path), lambda: copy_photos(folder, tmp_path / "data")):
        with pytest.raises(SourceError) as caught:
            take()
        lines = str(caught.value).splitlines()
        assert lines[0] == f"{folder} cannot be taken as photos:"
        assert [line.strip().partition(":")[0] for line in lines[1:]] == ["gone.jpg", "more", "notes.docx"]


def test_a_copy_stands_by_itself(tmp_path: Path) -> None:
    tiny.make_photos(tmp_path / "photos", 1)
    (picture,) = (tmp_path / "photos").glob("*.jpg")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "a.jpg").symlink_to(picture)
    copy_photos(tmp_path / "links", tmp_path / "data")
    assert not (tmp_path / "data" / "a.jpg").is_symlink()
    assert (tmp_path / "data" / "a.jpg").read_bytes() == picture.read_bytes()


def test_a_prefix_is_kept_in_step_and_only_changes_travel(bucket: Bucket, tmp_path: Path, monkeypatch) -> None:
    tiny.make_photos(tmp_path / "made", 3)
    store = s3.Store()
    for path in (tmp_path / "made").iterdir():
        store.write(bucket.name, f"subjects/rex/{path.name}", path.read_bytes())
    store.write(bucket.name, "subjects/rexona/other.jpg", b"not of this prefix")
    url = f"{bucket.url}/subjects/rex"
    folder = fetch_source(url, tmp_path)
    names = sorted(path.name for path in (tmp_path / "made").iterdir())
    assert sorted(path.name for path in folder.iterdir()) == names

    fetched: list[str] = []
    real = s3.Store.download

    def download(self, bucket: str, key: str, path: Path) -> str:
        fetched.append(key)
        return real(self, bucket, key, path)

    monkeypatch.setattr(s3.Store, "download", download)
    assert fetch_source(url, tmp_path) == folder and fetched == []
    pictures = [name for name in names if name.endswith(".jpg")]
    store.client.delete_object(Bucket=bucket.name, Key=f"subjects/rex/{pictures[0]}")
    store.write(bucket.name, f"subjects/rex/{pictures[1]}", (tmp_path / "made" / pictures[2]).read_bytes())
    fetch_source(url, tmp_path)
    assert fetched == [f"subjects/rex/{pictures[1]}"]
    assert not (folder / pictures[0]).exists()
    assert (folder / pictures[1]).read_bytes() == (tmp_path / "made" / pictures[2]).read_bytes()

    with pytest.raises(SourceError, match="there is nothing below"):
        fetch_source(f"{bucket.url}/subjects/re", tmp_path)
    store.write(bucket.name, "bad/../../escape.jpg", b"x")
    with pytest.raises(SourceError, match="no file name"):
        fetch_source(f"{bucket.url}/bad", tmp_path)


@pytest.mark.parametrize("limit", [("MOST_FILES", 3), ("MOST_BYTES", 3 << 10)])
def test_more_than_anybody_has_of_one_subject_is_refused_before_a_byte_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: tuple[str, int]
) -> None:
    monkeypatch.setattr(photo_sources, *limit)
    folder = tiny.make_photos(tmp_path / "many", 4)
    for take in (lambda: fetch_source(str(folder), tmp_path), lambda: copy_photos(folder, tmp_path / "data")):
        with pytest.raises(SourceError, match=r"holds 5 files of .* more than"):
            take()
    assert not (tmp_path / "data").exists()


class Bucketful:
    """A store that lists what it was made of."""

    def __init__(self, *keys: str, size: int = 3):
        self.keys, self.size, self.fetched = keys, size, []

    def list(self, place: object) -> list[tuple[str, int, str]]:
        return [(key, self.size, f'"{md5(b"abc").hexdigest()}"') for key in self.keys]

    def download(self, bucket: str, key: str, path: Path) -> str:
        self.fetched.append(key)
        path.write_bytes(b"abc")
        return "0" * 64


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (["p/../../etc/passwd"], "../../etc/passwd: is an object whose name is no file name"),
        (["p/../a", "p/../b"], "../b: is an object whose name is no file name"),
        (["p/a\\..\\b.jpg"], "no file name"),
        (["p/a\0.jpg"], "no file name"),
        ([f"p/{'x' * 256}.jpg"], "no file name"),
        (["p/a.jpg", "p/a.jpg/b.jpg"], "a.jpg: is an object and a folder (of a.jpg/b.jpg)"),
        (["p/a.jpg", "p/a.jpg/b.jpg", "p/../c"], "../c: is an object"),
        (["p/"], "there is nothing below"),
    ],
)
def test_objects_that_no_folder_can_hold_are_named_before_any_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: list[str], words: str
) -> None:
    store = Bucketful(*keys)
    monkeypatch.setattr(photo_sources, "Store", lambda: store)
    with pytest.raises(SourceError) as caught:
        fetch_source("s3://bucket/p/", tmp_path)
    assert words in str(caught.value)
    assert store.fetched == [] and not list(tmp_path.rglob("*.jpg"))


@pytest.mark.parametrize("days", [("p/masks", "p/masks/one.jpg"), ("p/masks/one.jpg", "p/masks"), ("p/a/b", "p/a")])
def test_an_object_may_become_a_folder_and_a_folder_an_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: tuple[str, str]
) -> None:
    for key in (*days, days[1]):
        store = Bucketful("p/photo.jpg", key)
        monkeypatch.setattr(photo_sources, "Store", lambda store=store: store)
        folder = photo_sources._synced("s3://bucket/p/", tmp_path)
        there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        assert there == {"photo.jpg", key.removeprefix("p/")}
    assert [path for path in folder.rglob("*") if path.is_dir() and not any(path.iterdir())] == []


def test_an_object_that_does_not_arrive_as_listed_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Bucketful("p/a.jpg", size=4)
    monkeypatch.setattr(photo_sources, "Store", lambda: store)
    with pytest.raises(SourceError, match="does not arrive as it is listed"):
        fetch_source("s3://bucket/p/", tmp_path)
    assert len(store.fetched) == 3
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["lock"]


def test_a_copy_waits_for_who_keeps_the_prefix_in_step(tmp_path: Path) -> None:
    place = tmp_path / "sources" / "one"
    folder = tiny.make_photos(place / "photos", 4)
    (place / "index.json").write_text("{}")
    copying = threading.Thread(target=copy_photos, args=(folder, tmp_path / "data"))
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        copying.start()
        copying.join(0.3)
        assert copying.is_alive() and not (tmp_path / "data").exists()
    copying.join(30)
    assert len(list((tmp_path / "data").iterdir())) == 5


def test_links_of_a_folder_are_copied_as_files_and_no_folder_is_entered_twice(tmp_path: Path) -> None:
    folder, other = tiny.make_photos(tmp_path / "photos", 4), tmp_path / "other.jpg"
    other.write_bytes((folder / "photo0.jpg").read_bytes())
    (folder / "linked.jpg").symlink_to(other)
    copy_photos(folder, tmp_path / "data")
    assert (tmp_path / "data" / "linked.jpg").is_file() and not (tmp_path / "data" / "linked.jpg").is_symlink()
    (folder / "round").symlink_to(folder)
    with pytest.raises(SourceError, match="round"):
        fetch_source(str(folder), tmp_path)
