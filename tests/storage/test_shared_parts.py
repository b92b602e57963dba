"""Files that versions share are kept once on S3: sent once, put together when fetched, removed with the last that needs
them, and never missing below a pointer."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from pipeline.files import digest_file
from pipeline.storage.fetch import fetch
from pipeline.storage.publish import Published, delete_published, publish
from pipeline.storage.s3 import StorageError, Store
from tests.services.fixtures import Bucket
from tests.storage.test_publish import always, facts, make_model, place


def shared(model: Path) -> list[Path]:
    return [*sorted(model.glob("vae/*.safetensors")), *sorted(model.glob("text_encoder/*.safetensors"))]


def send(bucket: Bucket, model: Path, version: str, name: str = "mysks", store: Store | None = None) -> Published:
    return publish(
        place(bucket), facts(model, version) | {"model": name}, {"model": model}, always, store, shared=shared(model)
    )


def parts(bucket: Bucket) -> dict[str, int]:
    """Size of each object in the place's parts/, by its name."""
    found = Store().list(place(bucket))
    return {key.rpartition("/")[2]: size for key, size, _ in found if "/parts/" in f"/{key}"}


def folder_url(bucket: Bucket, done: Published) -> str:
    return f"{place(bucket)}/{done.pointer['model']}/{done.pointer['folder']}"


def size(paths: list[Path]) -> int:
    return sum(path.stat().st_size for path in paths if path.is_file())


@pytest.fixture
def models(tiny_base: Path, tmp_path: Path) -> list[Path]:
    """Two versions of a subject: another note, the same weights."""
    return [make_model(tiny_base, tmp_path / str(number), number) for number in (1, 2)]


def test_a_part_is_sent_once_for_all_versions_and_models_of_a_place(
    models: list[Path], bucket: Bucket, tmp_path: Path
) -> None:
    first, second = models
    whole = size(list(second.rglob("*")))
    assert send(bucket, first, "1").sent == size(list(first.rglob("*")))
    expected = {digest_file(path): path.stat().st_size for path in shared(first)}
    assert parts(bucket) == expected and len(expected) == 2
    assert send(bucket, second, "2").sent == whole - size(shared(second))
    assert send(bucket, second, "1", "other").sent == whole - size(shared(second))
    assert parts(bucket) == expected
    keys = [key for key, _, _ in Store().list(place(bucket))]
    assert not [key for key in keys if "vae/diffusion" in key]  # nowhere else
    assert not send(bucket, second, "2").moved
    fetch(f"{place(bucket)}/mysks", tmp_path / "got")
    names = {path.relative_to(second) for path in second.rglob("*") if path.is_file()}
    got = tmp_path / "got" / "model"
    assert {path.relative_to(got) for path in got.rglob("*") if path.is_file()} == names
    assert all(digest_file(got / name) == digest_file(second / name) for name in names)


def test_a_folder_of_an_older_dreamtrace_stays_as_it_is_and_is_fetched(
    models: list[Path], bucket: Bucket, tmp_path: Path
) -> None:
    model = models[0]
    old = publish(place(bucket), facts(model, "1"), {"model": model}, always)  # it shared nothing
    pointer = {key: value for key, value in old.pointer.items() if key != "format"}
    Store().write(bucket.name, "models/mysks/champion.json", json.dumps(pointer | {"format": 1}).encode())
    again = send(bucket, model, "1")
    assert (again.moved, again.sent, parts(bucket)) == (False, 0, {})
    assert fetch(f"{place(bucket)}/mysks", tmp_path / "got")["format"] == 1
    newer = json.dumps(pointer | {"format": 3}).encode()
    Store().write(bucket.name, "models/mysks/champion.json", newer)
    with pytest.raises(StorageError, match="has format 3, and this dreamtrace reads up to 2"):
        fetch(f"{place(bucket)}/mysks", tmp_path / "later")


def test_a_part_goes_with_the_last_version_that_needs_it(models: list[Path], bucket: Bucket, tmp_path: Path) -> None:
    first, second = send(bucket, models[0], "1"), send(bucket, models[1], "1", "other")
    before = parts(bucket)
    assert delete_published(folder_url(bucket, first)) > 0
    assert parts(bucket) == before
    assert fetch(f"{place(bucket)}/other", tmp_path / "got")["model"] == "other"
    delete_published(folder_url(bucket, second))
    assert parts(bucket) == {}
    left = [key for key, _, _ in Store().list(place(bucket))]
    assert sorted(left) == ["models/mysks/champion.json", "models/other/champion.json"]


def test_an_upload_that_is_cut_off_moves_no_pointer(
    models: list[Path], bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(bucket, models[0], "1")
    save_file({"other": np.zeros(4)}, models[1] / "vae" / "diffusion_pytorch_model.safetensors")
    store, upload = Store(), Store.upload

    def cut(this: Store, name: str, key: str, path: Path, sha256: str) -> int:
        if "/parts/" in key and path.parent.name == "vae":
            raise StorageError("S3 did not answer")
        return upload(this, name, key, path, sha256)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "upload", cut)
        with pytest.raises(StorageError, match="did not answer"):
            send(bucket, models[1], "2", store=store)
    assert fetch(f"{place(bucket)}/mysks", tmp_path / "got")["version"] == "1"


def test_a_part_that_is_removed_meanwhile_is_sent_again(
    models: list[Path], bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, before = send(bucket, models[0], "1"), parts(bucket)
    write = Store.write

    def removed_before(store: Store, name: str, key: str, content: bytes) -> None:
        with monkeypatch.context() as inner:
            inner.setattr(Store, "write", write)
            delete_published(folder_url(bucket, first))
        write(store, name, key, content)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", removed_before)
        assert send(bucket, models[1], "2").moved
    assert parts(bucket) == before
    assert fetch(f"{place(bucket)}/mysks", tmp_path / "got")["version"] == "2"


def test_a_removal_that_another_publication_overtook_is_told(
    models: list[Path], bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, delete = send(bucket, models[0], "1"), Store.delete
    sent: list[Published] = []

    def published_before(store: Store, name: str, key: str) -> None:
        if "/parts/" in key and not sent:
            sent.append(send(bucket, models[1], "2"))
        delete(store, name, key)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "delete", published_before)
        with pytest.raises(StorageError, match=r"another version was published .* publish it again"):
            delete_published(folder_url(bucket, first))
    with pytest.raises(StorageError, match=r"parts/.* is missing, and .* `dreamtrace publish mysks`"):
        fetch(f"{place(bucket)}/mysks", tmp_path / "got")
    assert send(bucket, models[1], "2").sent == size(shared(models[1]))  # only what was missing
    assert fetch(f"{place(bucket)}/mysks", tmp_path / "got")["version"] == "2"
