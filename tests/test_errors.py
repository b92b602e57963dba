"""What the system refuses becomes a sentence; what is a defect does not."""

import errno
import os
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy.exc
from safetensors import SafetensorError

from pipeline import errors
from pipeline.commands import app
from pipeline.errors import UserError, all_problems, as_found, counted, grouped, in_units, joined, system_failure
from tests.commands.test_app import dreamtrace


def raised_from(error: Exception) -> Exception:
    """The error that a library raises when it has caught this one."""
    try:
        try:
            raise error
        except Exception as cause:
            raise RuntimeError("it failed") from cause
    except RuntimeError as found:
        return found


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/data/a.png"), "/data/a.png: there is no space left"),
        (OSError(errno.ENOSPC, "No space left on device"), "there is no space left on the disk: free some"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "the disk quota is used up"),
        (OSError(errno.EFBIG, "File too large"), "a file would become larger than its limit"),
        (OSError(errno.EROFS, "Read-only file system", "w/params.yaml"), "w/params.yaml: the disk can only be read"),
        (PermissionError(errno.EACCES, "Permission denied", "w"), "w: permission denied: the file or its folder"),
        (OSError(errno.EMFILE, "Too many open files"), "too many open files"),
        (MemoryError(), "there is not enough memory"),
        (sqlite3.OperationalError("database or disk is full"), "there is no space left"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "permission denied"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "there is no space left"),
        (raised_from(OSError(errno.ENOSPC, "No space left on device")), "there is no space left"),
        (
            sqlalchemy.exc.OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full")),
            "there is no space left",
        ),
    ],
)
def test_what_the_system_refuses_is_told_with_what_to_do(error: Exception, words: str, monkeypatch) -> None:
    monkeypatch.setattr(errors, "_full_disks", lambda: "")
    found = system_failure(error)
    assert found is not None
    assert words in str(found)
    assert len(str(found).splitlines()) == 1


@pytest.mark.parametrize(
    "error",
    [ValueError("a defect"), FileNotFoundError(errno.ENOENT, "No such file", "x"), KeyError("space"), OSError("odd")],
)
def test_a_defect_is_not_explained_away(error: Exception) -> None:
    assert system_failure(error) is None


def test_a_full_disk_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def usage(folder: str) -> os.stat_result:
        return type("Usage", (), {"free": 0 if folder == str(tmp_path) else 10**9})()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(errors.shutil, "disk_usage", usage)
    assert str(system_failure(OSError(errno.ENOSPC, "full"))).startswith(f"{tmp_path}: there is no space left")


def test_a_real_full_device_is_told_by_commands(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Writing to /dev/full fails as on a disk without space."""

    def write() -> None:
        with open("/dev/full", "w") as file:
            file.write("x" * 100_000)

    monkeypatch.setattr(app, "app", write)
    assert dreamtrace(monkeypatch, "list") == 1
    said = capsys.readouterr().err
    assert "no space left on the disk" in said and "Traceback" not in said, said


def test_a_stage_tells_what_the_system_refused(project, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    from pipeline.stages import main

    monkeypatch.chdir(project())

    def refused(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "artifacts/x")

    with pytest.raises(SystemExit) as left:
        main(refused)
    assert left.value.code == UserError.status
    assert capsys.readouterr().err.startswith("error: artifacts/x: there is no space left on the disk")


def test_words_that_messages_share() -> None:
    assert (counted(1, "photo"), counted(0, "photo"), counted(2, "photo")) == ("1 photo", "0 photos", "2 photos")
    assert (joined(["a"]), joined(["a", "b"]), joined(["a", "b", "c"])) == ("a", "a and b", "a, b and c")
    assert all_problems("x", ["y"]) == "x has 1 problem:\n  y"
    assert all_problems("x", ["y", "z"]) == "x has 2 problems:\n  y\n  z"


def test_files_of_which_the_same_is_said_share_a_line() -> None:
    lines = ["a.jpg: is dark", "b.jpg: is small", "c.jpg: is dark", "5 photos are few", "d.jpg: is dark: very"]
    assert grouped(lines) == [
        "a.jpg (and 1 other): is dark", "b.jpg: is small", "5 photos are few", "d.jpg: is dark: very"
    ]  # fmt: skip
    assert grouped([f"{number}.jpg: is dark" for number in range(5)]) == ["0.jpg (and 4 others): is dark"]
    assert grouped([]) == []


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (345_700_000, "345.7 MB"), (4.27e9, "4.3 GB"), (2e15, "2000.0 TB")],
)
def test_sizes_have_a_unit_that_fits(size: float, words: str) -> None:
    assert in_units(size) == words


def test_a_wrong_value_is_shown_whatever_it_is_and_cut_where_it_is_long() -> None:
    endless: list = []
    for _ in range(100_000):
        endless = [endless]
    for value in (16**6000, [16**6000], {16**6000: 1}, endless):
        assert as_found(value) == "a value that is too long to be shown"
    assert as_found("x" * 9, 5) == "'xxxx..." and as_found("x") == "'x'"
