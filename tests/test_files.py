import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.files import (
    digest_file,
    digest_value,
    read_jsonl,
    read_table,
    whole_folder,
    write_jsonl,
    write_table,
    write_text,
)
from tests.workspace import ROOT


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize(("umask", "file", "folder"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700), (0, 0o666, 0o777)])
def test_files_and_folders_allow_what_the_user_lets_them(tmp_path: Path, umask: int, file: int, folder: int) -> None:
    code = (
        "import os, sys; os.umask(int(sys.argv[1])); from pathlib import Path; import pipeline.files as files\n"
        "files.write_text(Path(sys.argv[2], 'file'), 'x')\n"
        "with files.whole_folder(Path(sys.argv[2], 'folder')): pass"
    )
    subprocess.run([sys.executable, "-c", code, str(umask), str(tmp_path)], check=True, cwd=ROOT)
    assert (tmp_path / "file").stat().st_mode & 0o777 == file
    assert (tmp_path / "folder").stat().st_mode & 0o777 == folder


def test_what_is_written_anew_keeps_its_mode(tmp_path: Path) -> None:
    for mode, kept in ((0o600, 0o600), (0o640, 0o640), (0o444, 0o644), (0o400, 0o600)):
        file = tmp_path / "file"
        file.touch()
        file.chmod(mode)
        write_text(file, "new")
        assert file.stat().st_mode & 0o777 == kept
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o700)
    with whole_folder(folder):
        pass
    assert folder.stat().st_mode & 0o777 == 0o700
    file.chmod(0o644)
    write_text(file, "a password", private=True)
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_folder_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with whole_folder(target) as fresh:
        (fresh / "one").write_text("1")
        assert not target.exists()
    with pytest.raises(RuntimeError), whole_folder(target) as fresh:
        (fresh / "two").write_text("2")
        raise RuntimeError
    assert [entry.name for entry in target.iterdir()] == ["one"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_a_folder_is_replaced_not_mixed(tmp_path: Path) -> None:
    for name in ("one", "two"):
        with whole_folder(tmp_path / "out") as fresh:
            (fresh / name).write_text(name)
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["two"]


def test_a_folder_is_there_at_any_moment_while_it_is_replaced(tmp_path: Path, monkeypatch) -> None:
    target = tmp_path / "out"
    for name in ("one", "two"):
        with whole_folder(target) as fresh:
            (fresh / name).write_text(name)
            rename = Path.rename
            monkeypatch.setattr(Path, "rename", lambda self, to: pytest.fail("two steps"))
            if name == "one":
                monkeypatch.setattr(Path, "rename", rename)
    assert [entry.name for entry in target.iterdir()] == ["two"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_kill_between_two_renames_leaves_one_of_the_two_to_the_next_call(
    tmp_path: Path, monkeypatch, renames: int
) -> None:
    monkeypatch.setattr("pipeline.files._exchange", lambda *_: False)
    target, done, rename = tmp_path / "out", [], Path.rename
    with whole_folder(target) as fresh:
        (fresh / "content").write_text("old")

    def deadly(self: Path, to: Path) -> Path:
        if len(done) == renames:
            os._exit(9)
        done.append(to)
        return rename(self, to)

    if (child := os.fork()) == 0:
        Path.rename = deadly
        with whole_folder(target) as fresh:
            (fresh / "content").write_text("new")
            if renames == 2:  # after the last one: while the old folder is removed
                shutil.rmtree = lambda *_, **__: os._exit(9)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    with whole_folder(target):
        assert (target / "content").read_text() == ("new" if renames == 2 else "old")


def test_rows_read_back(tmp_path: Path) -> None:
    rows = [{"text": "ü"}, {"text": "line\u2028break"}]
    write_jsonl(tmp_path / "a.jsonl", rows)
    lines = (tmp_path / "a.jsonl").read_text(encoding="utf-8").split("\n")
    assert [json.loads(line) for line in lines if line] == rows
    assert read_jsonl(tmp_path / "a.jsonl") == rows


def test_a_row_need_not_have_every_column(tmp_path: Path) -> None:
    rows = [{"step": 1.0}, {"step": 2.0, "validation_loss": 0.5}]
    write_table(tmp_path / "a.csv", rows)
    assert read_table(tmp_path / "a.csv") == rows


def test_tables_read_back(tmp_path: Path) -> None:
    rows = [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 1e-9}]
    write_table(tmp_path / "a.csv", rows)
    assert read_table(tmp_path / "a.csv") == rows


def test_digests_are_those_of_the_standard(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert digest_file(tmp_path / "a", "md5") == "900150983cd24fb0d6963f7d28e17f72"
    assert digest_file(tmp_path / "a").startswith("ba7816bf8f01cfea")


def test_the_digest_of_a_value_does_not_depend_on_the_order_of_its_keys() -> None:
    assert digest_value({"a": 1, "b": [2]}) == digest_value({"b": [2], "a": 1})
    assert digest_value({"a": 1}) != digest_value({"a": 2})
