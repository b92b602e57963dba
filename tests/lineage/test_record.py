import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.files import write_json
from pipeline.lineage.digests import dvc_folder_md5, future_folder_md5, tracked_md5
from pipeline.lineage.read import LineageError, read_lineage
from pipeline.lineage.recorded_base import recorded_base
from pipeline.params import Base, ParamsError

ROOT = Path(__file__).resolve().parents[2]


def test_the_digest_of_a_folder_is_the_one_dvc_records() -> None:
    assert dvc_folder_md5(ROOT / "data") == tracked_md5(ROOT / "data.dvc")


def test_clutter_that_dvc_ignores_changes_no_digest(tmp_path: Path) -> None:
    dvc = ["-m", "dvc"]
    subprocess.run([sys.executable, *dvc, "init", "-q", "--no-scm"], cwd=tmp_path, check=True)
    for name in ("a.jpg", "masks/a.png", "Z.jpg", ".hidden"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_text(name)
    (tmp_path / ".dvcignore").write_text("*.tmp\n.DS_Store\n/data/old\n!keep.tmp\n")
    for name in (".DS_Store", "sub/.DS_Store", "x.tmp", "keep.tmp", "old/a.jpg", "sub/b.txt", "b.txt"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_text("clutter")
    subprocess.run([sys.executable, *dvc, "add", "-q", "data"], cwd=tmp_path, check=True)
    assert dvc_folder_md5(tmp_path / "data") == tracked_md5(tmp_path / "data.dvc")


@pytest.mark.parametrize("content", [None, "{", '{"format": 99}', "[]"])
def test_what_is_no_record_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "lineage.json").write_text(content)
    with pytest.raises(LineageError):
        read_lineage(tmp_path)


def test_a_record_reads_back(tmp_path: Path) -> None:
    write_json(tmp_path / "lineage.json", {"format": 1})
    assert read_lineage(tmp_path) == {"format": 1}


def test_the_base_of_a_record_is_known_whatever_its_other_parameters_are() -> None:
    base = {"model": "owner/name", "revision": "main", "variant": "fp16"}
    lineage = {"params": {"base": base, "train": {"of": "another version"}}, "base": {"revision": "0" * 40}}
    assert recorded_base(lineage) == Base.model_validate({**base, "revision": "0" * 40})
    with pytest.raises(ParamsError, match=r"base\.model: is missing"):
        recorded_base({"params": {"base": {}}, "base": {}})


def test_photos_that_arrive_have_the_digest_that_they_will_have_in_data(tmp_path: Path) -> None:
    workspace = tmp_path / "w"
    arriving = workspace / ".dreamtrace" / "sources" / "one"  # a folder that DVC ignores as a whole
    for folder in (arriving, workspace / "data"):
        folder.mkdir(parents=True)
        (folder / "a.jpg").write_bytes(b"a photo")
    (arriving / ".DS_Store").write_bytes(b"x")
    (arriving / "notes.bak").write_bytes(b"x")
    (workspace / ".dvc").mkdir()
    (workspace / ".dvcignore").write_text(".dreamtrace\n*.bak\n")
    assert future_folder_md5(arriving, workspace / "data") == dvc_folder_md5(workspace / "data")
    (arriving / "b.jpg").write_bytes(b"another")
    assert future_folder_md5(arriving, workspace / "data") != dvc_folder_md5(workspace / "data")
