import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from pipeline.base.digest import folder_digest
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
