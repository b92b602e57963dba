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

GRACE_S = 25.0
TICK_S = 5.0

# Reads from its parent: a word means that all is over; the end of the file that the parent is gone.
GUARD = """
import os, signal, sys, time
group, grace = int(sys.argv[1]), float(sys.argv[2])
if not os.read(0, 1):
    for number, wait in ((signal.SIGTERM, grace), (signal.SIGKILL, 0)):
        try:
            os.killpg(group, number)
            end = time.monotonic() + wait
            while time.monotonic() < end:
                time.sleep(0.1)
                os.killpg(group, 0)
        except ProcessLookupError:
            break
"""


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
    ):
        """`log`: a file that takes what it prints, in place of `output`."""
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
        self.guard = subprocess.Popen(
            [sys.executable, "-S", "-E", "-c", GUARD, str(self.process.pid), str(grace_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

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
                self._signal(signal.SIGTERM)
                self._listen()
                self._signal(signal.SIGKILL)
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
            if stream is not None and open_ and select.select([stream], [], [], 0.1)[0]:
                chunk = os.read(stream.fileno(), 1 << 16)
                open_ = bool(chunk)
                sys.stdout.write(chunk.decode(errors="replace"))
                sys.stdout.flush()
            elif not open_:
                time.sleep(0.1)

    def _alive(self) -> bool:
        self.process.poll()
        return self._signal(0)

    def _signal(self, number: int) -> bool:
        try:
            os.killpg(self.process.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True


def complaint(done: "subprocess.CompletedProcess[str]") -> str:
    """What a command that failed said is wrong: DVC's line that begins with ERROR, else the last line.

    DVC says nothing at all with `--quiet`.
    """
    lines = (done.stderr.strip() or done.stdout.strip() or f"status {done.returncode}").splitlines()
    return next((line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")), lines[-1])
