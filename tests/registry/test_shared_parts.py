"""Files that versions share are stored once; what is missing or changed there is found and named."""

import shutil
from pathlib import Path

import mlflow
import pytest

from pipeline import layout
from pipeline.files import digest_file, read_json
from pipeline.lineage.links import verdict
from pipeline.lineage.verify import verify
from pipeline.registry.lookup import find_record
from pipeline.registry.shared_parts import INDEX, PARTS, PartMissing, whole_model
from pipeline.registry.store import connect
from tests.stages.test_chain import run, same_pixels

VAE = "vae/diffusion_pytorch_model.safetensors"
REF = "models:/mysks/1"


@pytest.fixture
def done(project) -> Path:
    workspace: Path = project(train={"save_every": 0, "steps": 2})
    run(workspace)
    return workspace


def own_folder(workspace: Path) -> Path:
    (index,) = (workspace / "mlartifacts").rglob(INDEX)
    return index.parent


def broken(workspace: Path) -> str:
    with find_record(workspace, REF) as found:
        links = verify(found.lineage, found.evidence(workspace))
    assert verdict(links) == "broken"
    return "\n".join(f"{link.name}: {link.detail}" for link in links if link.state == "broken")


def test_a_version_is_put_together_from_its_own_files_and_the_shared_ones(done: Path) -> None:
    own = own_folder(done)
    assert not (own / VAE).exists() and not (own / "tokenizer" / "tokenizer.json").exists()
    assert (own / "unet" / "diffusion_pytorch_model.safetensors").is_file()
    for part in (done / "mlartifacts" / PARTS).iterdir():
        assert digest_file(part) == part.name
    with find_record(done, REF) as found:
        links = verify(found.lineage, found.evidence(done))
        assert not [link for link in links if link.state == "broken"]
        assert found.model is not None and digest_file(found.model / VAE) == digest_file(done / layout.MODEL / VAE)
    (picture,) = mlflow.pyfunc.load_model(REF).predict(["a photo of mysks"], params={"steps": 2})
    moved = done.parent / f"{done.name}-moved"
    done.rename(moved)
    connect(moved)
    (again,) = mlflow.pyfunc.load_model(REF).predict(["a photo of mysks"], params={"steps": 2})
    assert same_pixels(picture, again)
    moved.rename(done)


def test_a_shared_file_that_is_gone_or_changed_is_named(done: Path) -> None:
    part = done / "mlartifacts" / PARTS / read_json(own_folder(done) / INDEX)["files"][VAE]["sha256"]
    kept = part.read_bytes()
    part.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    assert VAE in broken(done)
    part.unlink()
    assert f"{VAE} is missing" in broken(done)
    with find_record(done, REF) as found, pytest.raises(PartMissing, match=VAE):
        assert found.model
    with pytest.raises(Exception, match="shared with others"):
        mlflow.pyfunc.load_model(REF)
    run(done, "register")  # the version is there, so nothing is uploaded
    assert not part.exists()


def test_the_next_version_brings_back_a_part_that_was_cut_off(done: Path) -> None:
    part = done / "mlartifacts" / PARTS / read_json(own_folder(done) / INDEX)["files"][VAE]["sha256"]
    part.write_bytes(part.read_bytes()[:100])
    text = (done / "params.yaml").read_text()
    (done / "params.yaml").write_text(text.replace("steps: 2\n", "steps: 3\n", 1))
    run(done)
    assert read_json(done / layout.REGISTRATION)["version"] == "2"
    assert digest_file(part) == part.name


def _copied(file: Path, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return Path(shutil.copy(file, folder / file.name))


def test_what_a_far_store_holds_is_checked_and_kept_once(done: Path, tmp_path: Path, monkeypatch) -> None:
    own = tmp_path / "far" / "model"
    shutil.copytree(own_folder(done), own)
    store = done / "mlartifacts" / PARTS
    monkeypatch.setattr("pipeline.registry.shared_parts.local_path", lambda uri: None)
    monkeypatch.setattr("pipeline.registry.shared_parts._fetch", lambda uri, to: _copied(store / Path(uri).name, to))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    whole = whole_model(own, tmp_path / "one")
    assert digest_file(whole / VAE) == digest_file(done / layout.MODEL / VAE)
    part = store / read_json(own / INDEX)["files"][VAE]["sha256"]
    part.write_bytes(b"other")
    whole_model(own, tmp_path / "two")  # from this user's cache
    assert digest_file(whole_model(own, tmp_path / "three", verifying=True) / VAE) != part.name
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(PartMissing, match=f"{VAE}.*was changed"):
        whole_model(own, tmp_path / "four")
