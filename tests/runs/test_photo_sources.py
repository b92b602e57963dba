"""Photos from a folder or from a prefix of a real S3 server."""

from pathlib import Path

import pytest

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
