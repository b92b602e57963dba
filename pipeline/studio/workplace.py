"""What the studio's pages share: the workspace, what runs in it on their behalf, and what they have to say."""

import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.layout import STATE
from pipeline.processes import Command
from pipeline.training.signals import SAVE_S

LOGS = STATE / "studio"
SAYINGS = 100  # that are kept until a page shows them


class Workplace:
    """One workspace. Runs are processes of the studio: they end with it, after they have saved their state."""

    def __init__(self, workspace: Path):
        self.path = workspace.resolve()
        self.lock = threading.Lock()  # of photos and parameters
        self._runs: dict[str, Command] = {}
        self._began: dict[str, float] = {}
        self._sayings: dict[str, tuple[str, bool]] = {}
        (self.path / LOGS).mkdir(parents=True, exist_ok=True)

    def say(self, text: str, bad: bool = False) -> str:
        """Keep a text for the next page; returns the key that names it."""
        key = secrets.token_urlsafe(9)
        self._sayings[key] = (text, bad)
        while len(self._sayings) > SAYINGS:
            self._sayings.pop(next(iter(self._sayings)))
        return key

    def said(self, key: str) -> tuple[str, bool] | None:
        """The text of a key and whether it is a complaint, once."""
        return self._sayings.pop(key, None)

    def start(self, name: str, arguments: Sequence[str]) -> bool:
        """Start `dreamtrace ARGUMENTS` in the background; False where one of this name is at work."""
        return self.start_prepared(name, lambda: arguments)

    def start_prepared(self, name: str, prepare: Callable[[], Sequence[str]]) -> bool:
        """The same; `prepare` gives the arguments, and is called only where none of this name is at work."""
        with self.lock:
            if self.runs_now(name):
                return False
            arguments = prepare()
            if name in self._runs:
                self._runs.pop(name).end()
            log = self.log_of(name)
            log.unlink(missing_ok=True)
            self._began[name] = time.time()
            environment = {**os.environ, "COLUMNS": "100"}
            self._runs[name] = Command(program(*arguments), self.path, environment, grace_s=SAVE_S, log=log)
            return True

    def stop(self, name: str) -> bool:
        """End one that was started here: a training saves its state first. False where none is at work."""
        with self.lock:
            if not self.runs_now(name):
                return False
            self._runs.pop(name).end()
            return True

    def runs_now(self, name: str) -> bool:
        """Whether one that was started here is at work."""
        command = self._runs.get(name)
        return command is not None and command.process.poll() is None

    def began(self, name: str) -> float:
        """When the newest one of this name was started here, in seconds since 1970."""
        return self._began.get(name, 0.0)

    def outcome(self, name: str) -> int | None:
        """The exit status of one that ended by itself."""
        command = self._runs.get(name)
        return None if command is None else command.process.poll()

    def log_of(self, name: str) -> Path:
        """What it prints."""
        return self.path / LOGS / f"{name}.log"

    def tail(self, name: str, lines: int = 30) -> str:
        """The last lines of what it printed; of a progress bar its last state."""
        try:
            text = self.log_of(name).read_bytes()[-20_000:].decode(errors="replace")
        except OSError:
            return ""
        shown = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
        return "\n".join([line for line in shown if line.strip()][-lines:])

    def ask(self, *arguments: str) -> tuple[int, str]:
        """Run `dreamtrace ARGUMENTS` to its end; its status and what it printed."""
        done = subprocess.run(
            program(*arguments), cwd=self.path, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        return done.returncode, (done.stdout + done.stderr).strip()

    def close(self) -> None:
        """End all that was started here, at once; one that cannot be ended leaves none of the others running."""
        with self.lock:
            commands, self._runs = list(self._runs.values()), {}
        with ThreadPoolExecutor(len(commands) or 1) as pool:
            ends = [pool.submit(command.end) for command in commands]
        for end in ends:
            end.result()


def program(*arguments: str) -> list[str]:
    """This program with other arguments."""
    return [sys.executable, "-m", "pipeline.commands.app", *arguments]
