"""DVC's locks: a busy one is named with its holder, one that a dead process left is taken away."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.files import write_json, write_jsonl
from pipeline.layout import DATA, PARAMS
from pipeline.runs.dvc_locks import TMP, DvcBusy, only_change, only_run, remove_stale, wait_for_dvc
from pipeline.runs.proposals import CAPTIONS
from tests.commands.test_app import dreamtrace
from tests.evaluation.test_calibration import FAULTY, GOOD
from tests.runs.test_new_subject import photo
from tests.workspace import dvc, git

# A process that DVC's lock file may name: "dvc" is a word of its command line.
DVC = "import sys, time; print('here', flush=True); time.sleep(600)"
HELD = (
    "import sys, time, zc.lockfile; held = zc.lockfile.LockFile(sys.argv[2]); print('here', flush=True); "
    "time.sleep(600)"
)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / TMP).mkdir(parents=True)
    return tmp_path


@contextmanager
def process(code: str, *arguments: str) -> Iterator[int]:
    started = subprocess.Popen([sys.executable, "-c", code, "dvc", *arguments], stdout=subprocess.PIPE)
    try:
        assert started.stdout is not None and started.stdout.readline() == b"here\n"
        yield started.pid
    finally:
        started.kill()
        started.wait()


def lock(workspace: Path, pid: int, kind: str = "write", output: str = "data") -> Path:
    info = {"pid": pid, "cmd": "dvc repro"}
    path = workspace / TMP / "rwlock"
    path.write_text(json.dumps({kind: {output: info if kind == "write" else [info]}}))
    return path


def test_a_living_dvc_is_waited_for_and_named(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with process(DVC) as pid:
        path = lock(workspace, pid)
        with pytest.raises(
            DvcBusy, match=rf"process {pid} \(dvc repro, since \d\d:\d\d\) works on data; wait"
        ) as caught:
            wait_for_dvc(workspace, 0.1)
        assert caught.value.status == 75 and path.is_file()
        assert capsys.readouterr().err.count("waiting for DVC") == 1
        lock(workspace, pid, "read")
        wait_for_dvc(workspace, 0)  # who reads stands in nobody's way
    lock(workspace, pid)
    wait_for_dvc(workspace, 0)
    assert f"process {pid} (dvc repro) is removed" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["write", "read"])
def test_a_number_that_lives_again_holds_nothing(workspace: Path, kind: str) -> None:
    path = lock(workspace, os.getppid(), kind)  # lives, and is no DVC
    wait_for_dvc(workspace, 0)
    assert json.loads(path.read_text()) == {"write": {}, "read": {}}
    with process(DVC) as pid:
        path = lock(workspace, pid, kind)
        hour = time.time() - 3600
        os.utime(path, (hour, hour))  # written before this DVC began
        wait_for_dvc(workspace, 0)
        assert json.loads(path.read_text()) == {"write": {}, "read": {}}


@pytest.mark.parametrize("text", ["", "{", '{"write": {"data": {"pid": "x"}}}', "[]"])
def test_a_table_that_a_kill_cut_off_is_removed(workspace: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    (workspace / TMP / "rwlock").write_text(text)
    wait_for_dvc(workspace, 0)
    assert not (workspace / TMP / "rwlock").exists()
    assert "is damaged" in capsys.readouterr().err


def test_the_lock_of_the_whole_repository_is_held_or_only_there(workspace: Path) -> None:
    with process(HELD, str(workspace / TMP / "lock")) as pid, pytest.raises(DvcBusy, match=f"process {pid} "):
        wait_for_dvc(workspace, 0.1)
    assert (workspace / TMP / "lock").is_file()
    wait_for_dvc(workspace, 0)


def test_dvc_works_after_what_a_dead_container_left(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    dvc(tmp_path, "init", "-q")
    (tmp_path / "dvc.yaml").write_text("stages: {one: {cmd: echo x > out, outs: [out]}}")
    info = {"pid": os.getppid(), "cmd": "dvc repro"}
    (tmp_path / TMP / "rwlock").write_text(json.dumps({"write": {str(tmp_path / "out"): info}}))
    with pytest.raises(AssertionError, match="being blocked by"):
        dvc(tmp_path, "repro")
    remove_stale(tmp_path)
    dvc(tmp_path, "repro")
    assert (tmp_path / "out").is_file()


def test_a_second_run_in_one_folder_is_told_of_the_first(tmp_path: Path) -> None:
    words = rf"process {os.getpid()} \(dreamtrace run.*--isolated NAME"
    with only_run(tmp_path), pytest.raises(DvcBusy, match=words), only_run(tmp_path):
        pass
    with only_run(tmp_path):
        pass
    with only_change(tmp_path, "dreamtrace new"), pytest.raises(DvcBusy, match="dreamtrace new"), only_run(tmp_path):
        pass


@pytest.mark.parametrize(
    "command",
    [
        ["new", "album", "--token", "gtwlb", "--class", "bear", "--yes"],
        ["profile", "use", "thesis"],
        ["propose", "accept"],
        ["calibrate", "--good", "good.json", "--faulty", "faulty.json", "--write"],
    ],
)
def test_nothing_changes_under_a_run(command: list[str], project, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    workspace = project()
    (workspace / "dvc.yaml").touch()
    (workspace / DATA / "metadata.jsonl").unlink()
    (workspace / "album").mkdir()
    for number in range(6):
        photo(number).save(workspace / "album" / f"{number}.jpg", quality=95)
    write_jsonl(workspace / CAPTIONS, [{"file_name": "photo0.jpg", "text": "a plush toy", "by": "a network"}])
    write_json(workspace / "good.json", GOOD[0])
    write_json(workspace / "faulty.json", FAULTY["base"])
    inputs = lambda: {path.name: path.read_bytes() for path in [workspace / PARAMS, *(workspace / DATA).iterdir()]}  # noqa: E731
    before = inputs()
    with only_run(workspace):
        assert dreamtrace(monkeypatch, *command) == 75
    assert "(dreamtrace run" in capsys.readouterr().err and inputs() == before
    assert dreamtrace(monkeypatch, *command) == 0, capsys.readouterr().err
    assert inputs() != before
