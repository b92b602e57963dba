"""DVC's locks of a workspace: who holds them, and those that a dead process left."""

import contextlib
import fcntl
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from pipeline.errors import NotNow
from pipeline.files import write_text
from pipeline.layout import STATE

TMP = Path(".dvc") / "tmp"
WAIT_S, TICK_S = 60.0, 0.5
CLOCK_S = 2.0  # by which clocks of files and processes may differ
RUN_LOCK = STATE / "run.lock"


class DvcBusy(NotNow):
    """Another process works on the files of this workspace; the message names it."""


@dataclass(frozen=True)
class Holder:
    """A process that DVC's lock file names as working on a path."""

    pid: int
    command: str
    path: str

    def __str__(self) -> str:
        since = ""
        with contextlib.suppress(psutil.Error):
            since = f", since {datetime.fromtimestamp(psutil.Process(self.pid).create_time()):%H:%M}"
        return f"process {self.pid} ({self.command or 'unknown'}{since})"


@contextlib.contextmanager
def only_run(workspace: Path) -> Iterator[None]:
    """Hold a workspace for one `dreamtrace run`.

    Raises:
        DvcBusy: another one, or a command that changes photos or parameters, works there.
    """
    advice = "wait for it, or start this one beside it: dreamtrace run --isolated NAME"
    with _held(workspace / RUN_LOCK, "dreamtrace run", advice):
        yield


@contextlib.contextmanager
def only_change(workspace: Path, command: str) -> Iterator[None]:
    """Hold photos and parameters of a workspace for one command that changes them.

    What changes under a run is recorded by DVC together with results that were made without it.

    Raises:
        DvcBusy: a run, or another such command, works there.
    """
    if not (workspace / STATE).is_dir():  # no run was ever there
        yield
        return
    with _held(workspace / RUN_LOCK, command, "nothing was changed: wait for its end, or stop it"):
        yield


@contextlib.contextmanager
def _held(path: Path, command: str, advice: str) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise DvcBusy(
                f"another command works in this folder: {file.read().strip() or 'its process is unknown'}; {advice}"
            ) from None
        file.truncate(0)
        file.write(str(Holder(psutil.Process().pid, command, "")))
        file.flush()
        yield


def wait_for_dvc(workspace: Path, seconds: float = WAIT_S) -> None:
    """Until no other DVC process writes in a workspace; what dead processes left in its lock file is removed, with a
    word about it.

    Raises:
        DvcBusy: one still does after `seconds`.
    """
    end, told = time.monotonic() + seconds, False
    while (holder := _holder(workspace)) is not None:
        if time.monotonic() > end:
            raise DvcBusy(
                f"DVC is busy in {workspace}: {holder} works on {holder.path}; wait for it, or end it, then run the "
                "same command again"
            )
        if not told:
            print(f"waiting for DVC: {holder} works on {holder.path}", file=sys.stderr, flush=True)
            told = True
        time.sleep(TICK_S)


def _holder(workspace: Path) -> Holder | None:
    """A living process that writes in the workspace, or holds the lock of its whole DVC repository."""
    remove_stale(workspace)
    table, _ = _read(workspace / TMP / "rwlock")
    for path, info in table.get("write", {}).items():
        return Holder(int(info["pid"]), str(info["cmd"]), path)
    lock = workspace / TMP / "lock"
    if lock.is_file() and is_held(lock):
        pid = lock.read_text(encoding="utf-8", errors="replace").strip()
        if pid.isdecimal():
            command = ""
            with contextlib.suppress(psutil.Error):
                command = " ".join(psutil.Process(int(pid)).cmdline()[:4])
            return Holder(int(pid), command, str(workspace))
    return None


def is_writing(workspace: Path) -> bool:
    """Whether a living DVC writes outputs of the workspace; nothing is changed."""
    return bool(_writers(workspace))


def writing_since(workspace: Path, output: Path) -> float | None:
    """When the living DVC that writes an output of the workspace, or one below it, began, in seconds since 1970 and
    rather `CLOCK_S` too early; None where none does. Nothing is changed.
    """
    place = workspace.resolve() / output
    pids = [pid for path, pid in _writers(workspace).items() if path.is_relative_to(place)]
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            return float(psutil.Process(pid).create_time()) - CLOCK_S
    return None


def _writers(workspace: Path) -> dict[Path, int]:
    """The outputs that a living DVC writes, each with the number of its process."""
    path = workspace / TMP / "rwlock"
    try:
        written = path.stat().st_mtime
    except OSError:
        return {}
    table, _ = _read(path)
    pids = {Path(name): int(info["pid"]) for name, info in table.get("write", {}).items()}
    return {name: pid for name, pid in pids.items() if _is_holder(pid, written)}


def is_at_work(workspace: Path) -> bool:
    """Whether a run, a command that changes photos or parameters, or a `dvc repro` works in a workspace."""
    return is_held(workspace / RUN_LOCK) or is_writing(workspace)


def remove_stale(workspace: Path) -> None:
    """Take out of DVC's lock file what processes left that are no more, though their numbers may live again.

    DVC itself asks only whether a process of that number exists, and in a container one always does.
    """
    path = workspace / TMP / "rwlock"
    if not path.is_file() or is_held(path.with_name("rwlock.lock")):
        return
    written = path.stat().st_mtime
    table, sound = _read(path)
    if not sound:
        print(f"{path} is damaged, as a killed process leaves it; it is removed", file=sys.stderr, flush=True)
        path.unlink(missing_ok=True)
        return
    stale: set[tuple[int, str]] = set()

    def lives(info: dict[str, Any]) -> bool:
        holder = int(info["pid"]), str(info["cmd"])
        if not _is_holder(holder[0], written):
            stale.add(holder)
        return holder not in stale

    left = {
        "write": {name: info for name, info in table.get("write", {}).items() if lives(info)},
        "read": {
            name: kept
            for name, infos in table.get("read", {}).items()
            if (kept := [one for one in infos if lives(one)])
        },
    }
    for pid, command in sorted(stale):
        print(
            f"DVC's lock of process {pid} ({command}) is removed: that process has ended", file=sys.stderr, flush=True
        )
    if stale:
        write_text(path, json.dumps(left))


def _is_holder(pid: int, written: float) -> bool:
    """Whether the process of this number can be the one that wrote the lock: a DVC that is older than the file."""
    try:
        process = psutil.Process(pid)
        return process.create_time() <= written + CLOCK_S and "dvc" in (Path(word).name for word in process.cmdline())
    except psutil.AccessDenied:
        return True
    except psutil.Error:
        return False


def _read(path: Path) -> tuple[dict[str, Any], bool]:
    """DVC's table of locks, and whether it could be read."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        for info in [
            *table.get("write", {}).values(),
            *(one for some in table.get("read", {}).values() for one in some),
        ]:
            int(info["pid"]), str(info["cmd"])
    except FileNotFoundError:
        return {}, True
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}, False
    return table, True


def is_held(path: Path) -> bool:
    """Whether a living process holds a lock file; one that is only there is held by nobody."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
