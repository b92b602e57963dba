"""A command and everything it starts, as one: ended together, and never left behind by the process that started it."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

GRACE_S = 25.0
TICK_S = 5.0

GUARD = """
import sys
sys.path[0] = sys.argv[4]
sys.path.append(sys.argv[5])
from pipeline.processes import guard
guard(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3] == "True")
"""


class Group:
    """The process group that `leader` leads; with `apart` also those that its processes began in other sessions, as
    Prefect's worker begins each of its runs. Whatever those begin apart in their turn is theirs to end.
    """

    def __init__(self, leader: int, apart: bool = False):
        self.leader, self.apart = leader, apart
        self.others: list[psutil.Process] = []

    def alive(self) -> bool:
        """Whether any process of it is there."""
        return _signal(self.leader, 0) or any(_runs(other) for other in self.others)

    def terminate(self) -> None:
        """Send SIGTERM to every process of it."""
        self.others = self._apart()
        for group in (self.leader, *(other.pid for other in self.others)):
            _signal(group, signal.SIGTERM)

    def terminate_late(self) -> None:
        """Send SIGTERM to what began apart since `terminate`; nothing is told twice."""
        late = [other for other in self._apart() if other not in self.others]
        self.others += late
        for other in late:
            _signal(other.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to what is left of it."""
        _signal(self.leader, signal.SIGKILL)
        for other in self.others:
            if _runs(other):
                _signal(other.pid, signal.SIGKILL)

    def _apart(self) -> list[psutil.Process]:
        if not self.apart:
            return []
        found = []
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(self.leader).children(recursive=True):
                with contextlib.suppress(psutil.Error, ProcessLookupError):
                    if os.getpgid(child.pid) == child.pid and os.getpgid(child.ppid()) == self.leader:
                        found.append(child)
        return found


def guard(leader: int, grace_s: float, apart: bool) -> None:
    """Wait for a word of the parent on standard input: all is over. Where its end comes first, the parent is gone:
    end the group in its place.
    """
    if os.read(0, 1):
        return
    group, until = Group(leader, apart), time.monotonic() + grace_s
    group.terminate()
    while group.alive() and time.monotonic() < until:
        time.sleep(0.1)
        group.terminate_late()
    group.kill()


def _signal(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


class Command:
    """A command in a process group of its own; leaving the block ends the group.

    Where this process is killed, a guard ends the group in its place: SIGTERM first, SIGKILL after a grace period. A
    command that trains, or starts what trains, needs `SAVE_S` of `pipeline/training/signals.py`.
    """

    def __init__(
        self,
        command: Sequence[str],
        cwd: Path,
        environment: Mapping[str, str],
        grace_s: float = GRACE_S,
        log: Path | None = None,
        apart: bool = False,
    ):
        """Start it.

        Args:
            log: a file that takes what it prints, in place of `output`.
            apart: it begins processes in sessions of their own and leaves them when it is told to end; they are told,
                too, and waited for.
        """
        self.grace_s = grace_s
        with contextlib.ExitStack() as files:
            self.process = subprocess.Popen(
                command,
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=files.enter_context(log.open("ab")) if log else subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.group = Group(self.process.pid, apart)
        places = [str(Path(file).resolve().parents[1]) for file in (__file__, psutil.__file__)]
        try:
            self.guard = subprocess.Popen(
                [sys.executable, "-S", "-E", "-c", GUARD, str(self.process.pid), str(grace_s), str(apart), *places],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except BaseException:  # nobody would end it
            self.group.kill()
            self.process.wait()
            if self.process.stdout is not None:
                self.process.stdout.close()
            raise

    def __enter__(self) -> "Command":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def output(self) -> Iterator[str | None]:
        """What it prints, as it comes; None now and then (every `TICK_S`), so that the reader can do something else."""
        assert self.process.stdout is not None
        stream, ticked = self.process.stdout.fileno(), time.monotonic()
        while True:
            if select.select([stream], [], [], TICK_S)[0]:
                if not (chunk := os.read(stream, 1 << 16)):
                    return
                yield chunk.decode(errors="replace")
            if time.monotonic() - ticked >= TICK_S:
                ticked = time.monotonic()
                yield None

    def end(self) -> None:
        """End the group: SIGTERM, what is still said goes to the terminal, SIGKILL for what does not listen."""
        try:
            if self._alive():
                self.group.terminate()
                self._listen()
                self.group.kill()
            self.process.wait()
        finally:
            assert self.guard.stdin is not None
            if self.process.stdout is not None:
                self.process.stdout.close()
            with contextlib.suppress(BrokenPipeError):
                self.guard.stdin.write(b".")
                self.guard.stdin.close()
            self.guard.wait()

    def _listen(self) -> None:
        stream, until = self.process.stdout, time.monotonic() + self.grace_s
        open_ = stream is not None
        while self._alive() and time.monotonic() < until:
            self.group.terminate_late()
            if stream is not None and open_ and select.select([stream], [], [], 0.1)[0]:
                chunk = os.read(stream.fileno(), 1 << 16)
                open_ = bool(chunk)
                sys.stdout.write(chunk.decode(errors="replace"))
                sys.stdout.flush()
            elif not open_:
                time.sleep(0.1)

    def _alive(self) -> bool:
        self.process.poll()
        return self.group.alive()


def complaint(done: "subprocess.CompletedProcess[str]") -> str:
    """What a command that failed said is wrong: DVC's line that begins with ERROR, else the last line.

    DVC says nothing at all with `--quiet`.
    """
    lines = (done.stderr.strip() or done.stdout.strip() or f"status {done.returncode}").splitlines()
    return next((line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")), lines[-1])
