"""Writing files so that a reader sees all of one or nothing, and digests of what is in them."""

import csv
import ctypes
import glob
import hashlib
import io
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHUNK = 1 << 20
AT_FDCWD, RENAME_EXCHANGE = -100, 2
OLD, REMOVED = ".old", ".removed"
SCRATCH = "dreamtrace-"  # begins the names of folders in the machine's temporary folder


def _umask() -> int:
    """What this user's new files must not allow; temporary files allow nothing to others and are given more by it."""
    found = os.umask(0o077)
    os.umask(found)
    return found


UMASK = _umask()


def _mode(path: Path, new: int) -> int:
    """The mode that what takes the place of `path` gets: that of what is there; its owner may always write."""
    try:
        return stat.S_IMODE(path.stat().st_mode) & 0o777 | (new & 0o700)
    except OSError:
        return new & ~UMASK


def write_bytes(path: Path, content: bytes, private: bool = False) -> None:
    """Write a file atomically: a temporary file beside it, flushed to disk, renamed over it.

    A file that is there keeps its mode.

    Args:
        private: nobody but its owner may read it, whatever was there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o600 if private else _mode(path, 0o666))
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str, private: bool = False) -> None:
    """Write UTF-8 text atomically, as `write_bytes` does."""
    write_bytes(path, text.encode(), private)


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Write JSON lines atomically."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_json(path: Path) -> Any:
    """The value of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def read_jsonl(path: Path) -> list[Any]:
    """The rows of a JSON lines file; empty lines are skipped."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


def write_table(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Write rows of numbers as CSV, atomically; a row need not have every column."""
    text = io.StringIO()
    columns = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def read_table(path: Path) -> list[dict[str, float]]:
    """What `write_table` wrote."""
    with path.open(encoding="utf-8", newline="") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its place when the block ends without an error.

    It changes places with what is at `path` in one system call where the filesystem can do that; what was there before
    is removed afterwards, and its mode kept. Elsewhere there are two renames, and what a process that was killed
    between them left is put back by the next call.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _put_back(path)
    fresh = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    os.chmod(fresh, _mode(path, 0o777))
    old = fresh.with_name(f"{fresh.name}{OLD}")
    try:
        yield fresh
        sync_tree(fresh)
        if not path.exists():
            fresh.rename(path)
        elif not _exchange(fresh, path):
            path.rename(old)
            fresh.rename(path)
    except BaseException:
        if old.exists() and not path.exists():
            old.rename(path)
        raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change places, so that each name is there at any moment; False where that cannot be done."""
    try:
        rename = ctypes.CDLL(None).renameat2  # Linux; see rename(2)
        return bool(rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0)
    except (AttributeError, OSError, TypeError):
        return False


def _put_back(path: Path) -> None:
    """Undo the first of two renames where the second did not follow."""
    left = sorted(path.parent.glob(f".{glob.escape(path.name)}.????????{OLD}"), key=lambda one: one.stat().st_mtime)
    if left and not path.exists():
        left[-1].rename(path)


def remove_folder(path: Path) -> None:
    """Remove a folder in one step for whoever looks for it by its name, then from the disk.

    A process that is killed meanwhile leaves all of it in its place, or a hidden folder that ends in `REMOVED`.
    """
    gone = path.with_name(f".{path.name}{REMOVED}")
    shutil.rmtree(gone, ignore_errors=True)
    if path.exists():
        path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def scratch_folder() -> "tempfile.TemporaryDirectory[str]":
    """A folder in the machine's temporary folder for the length of a block; `dreamtrace clean` finds a killed one's."""
    return tempfile.TemporaryDirectory(prefix=SCRATCH)


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Let `target` be the same file as `source`, so that the disk holds it once; a copy where that cannot be.

    What is at either name is replaced by renaming, never written into, so that the other stays as it is.
    """
    source = Path(source).resolve()
    try:
        os.link(source, target)
    except OSError:  # another filesystem, or one without links
        shutil.copyfile(source, target)


def sync_tree(folder: Path) -> None:
    """Flush every file below `folder` to disk, so that a rename after it cannot come first."""
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def digest_file(path: Path, algorithm: str = "sha256") -> str:
    """Hexadecimal digest of a file's bytes (`sha256`, or `md5` as DVC has it)."""
    found = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            found.update(chunk)
    return found.hexdigest()


def digest_value(value: Any) -> str:
    """sha256 of a JSON value in canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
