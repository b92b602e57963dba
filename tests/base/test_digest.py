import os
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from pipeline.base import digest_cache
from pipeline.base.digest import digested_files, folder_digest
from pipeline.base.digest_cache import cached_digest
from pipeline.base.resolve import COMPONENTS

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def model(tiny_base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_base, tmp_path / "model"))


def digest(folder: Path) -> str:
    return folder_digest(folder, COMPONENTS)


def test_headers_do_not_matter(model: Path) -> None:
    before = digest(model)
    save_file(load_file(model / WEIGHTS), model / WEIGHTS, {"some": "metadata"})
    assert digest(model) == before


def test_the_packing_into_several_files_does_not_matter(model: Path) -> None:
    before = digest(model)
    tensors = load_file(model / WEIGHTS)
    names = sorted(tensors)
    (model / WEIGHTS).unlink()
    stem = model / "unet" / "diffusion_pytorch_model"
    save_file({name: tensors[name] for name in names[::2]}, f"{stem}-00001-of-00002.safetensors")
    save_file({name: tensors[name] for name in names[1::2]}, f"{stem}-00002-of-00002.safetensors")
    assert digest(model) == before


def test_one_changed_number_matters(model: Path) -> None:
    before = digest(model)
    tensors = load_file(model / WEIGHTS)
    tensors[next(iter(tensors))].view(-1)[0] += 1
    save_file(tensors, model / WEIGHTS)
    assert digest(model) != before


@pytest.mark.parametrize("file", ["tokenizer/tokenizer.json", "scheduler/scheduler_config.json"])
def test_tokenizer_and_scheduler_matter(model: Path, file: str) -> None:
    before = digest(model)
    with (model / file).open("a") as text:
        text.write(" ")
    assert digest(model) != before


def test_a_file_that_is_cut_off_is_an_error(model: Path) -> None:
    path = model / WEIGHTS
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="cut off inside tensor"):
        digest(model)


def test_a_large_base_is_read_once_and_again_when_a_file_changed(tiny_base: Path, tmp_path: Path, monkeypatch) -> None:
    base = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(digest_cache, "LARGE", 0)
    monkeypatch.setattr(digest_cache, "FRESH", 0.0)
    read: list[int] = []

    def remembered() -> str:
        def compute() -> str:
            read.append(1)
            return folder_digest(base, COMPONENTS)

        return cached_digest(digested_files(base, COMPONENTS), None, compute)

    first = remembered()
    assert remembered() == first == folder_digest(base, COMPONENTS)
    assert len(read) == 1
    path = base / "unet" / "diffusion_pytorch_model.safetensors"
    before, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # of the same size, and its time set back
    assert remembered() != first
    assert len(read) == 2
    digest_cache.cache_file().write_text("{broken")
    assert remembered() == folder_digest(base, COMPONENTS)
    monkeypatch.setattr(digest_cache, "FRESH", 60.0)
    remembered()
    assert len(read) == 4  # what changed a moment ago is not remembered
