import subprocess
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pipeline.files import write_json
from pipeline.lineage.code import code_state
from pipeline.lineage.digests import dvc_folder_md5, tracked_md5
from pipeline.lineage.header import add_to_header
from pipeline.lineage.read import LineageError, read_lineage

ROOT = Path(__file__).resolve().parents[2]


def git(folder: Path, *arguments: str) -> None:
    settings = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    subprocess.run(["git", *settings, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init")
    (tmp_path / "code.py").write_text("a = 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    return tmp_path


def test_a_clean_tree_is_its_commit(repository: Path) -> None:
    state = code_state(repository)
    assert len(state["commit"]) == 40
    assert (state["clean"], state["patch"]) == (True, None)


def test_the_patch_of_an_unclean_tree_rebuilds_it(repository: Path, tmp_path_factory) -> None:
    (repository / "code.py").write_text("a = 2\n")
    (repository / "new.py").write_text("b = 3\n")
    (repository / "big.jpg").write_bytes(b"\0" * 100)
    state = code_state(repository)
    assert not state["clean"]
    assert "big.jpg" not in state["patch"]
    other = tmp_path_factory.mktemp("other")
    git(other, "clone", str(repository), "copy")
    (other / "patch").write_text(state["patch"])
    git(other / "copy", "apply", str(other / "patch"))
    assert (other / "copy" / "code.py").read_text() == "a = 2\n"
    assert (other / "copy" / "new.py").read_text() == "b = 3\n"


def test_parameters_and_photos_of_a_run_are_choices_not_changed_code(repository: Path) -> None:
    (repository / "params.yaml").write_text("train: {steps: 4}\n")
    (repository / "data.dvc").write_text("outs: []\n")
    state = code_state(repository)
    assert state["clean"] and "steps: 4" in state["patch"] and "outs: []" in state["patch"]
    (repository / "dvc.yaml").write_text("stages: {}\n")
    assert code_state(repository)["clean"] is False


def test_taking_the_patch_leaves_the_index_alone(repository: Path) -> None:
    (repository / "new.py").write_text("b = 3\n")
    code_state(repository)
    status = subprocess.run(["git", "status", "--short"], cwd=repository, capture_output=True, text=True, check=True)
    assert status.stdout == "?? new.py\n"


def test_no_repository_is_unknown_not_clean(tmp_path: Path) -> None:
    assert code_state(tmp_path)["clean"] is None


def test_the_digest_of_a_folder_is_the_one_dvc_records() -> None:
    assert dvc_folder_md5(ROOT / "data") == tracked_md5(ROOT / "data.dvc")


def test_a_header_entry_leaves_the_tensors_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    tensors = {"one": torch.randn(3, 5), "two": torch.randn(7)}
    save_file(tensors, path, {"format": "pt"})
    add_to_header(path, "dreamtrace", '{"ü": 1}')
    again = load_file(path)
    assert all(torch.equal(again[name], tensors[name]) for name in tensors)
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"format": "pt", "dreamtrace": '{"ü": 1}'}
    before = path.read_bytes()
    add_to_header(path, "dreamtrace", '{"ü": 1}')
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [None, "{", '{"format": 99}', "[]"])
def test_what_is_no_record_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "lineage.json").write_text(content)
    with pytest.raises(LineageError):
        read_lineage(tmp_path)


def test_a_record_reads_back(tmp_path: Path) -> None:
    write_json(tmp_path / "lineage.json", {"format": 1})
    assert read_lineage(tmp_path) == {"format": 1}
