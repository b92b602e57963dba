"""A command and what it starts end together, also where they do not listen or where their parent is killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from pipeline.processes import Command
from pipeline.servers import up

# A worker that does not hear SIGTERM, nor does what it runs; both write their ids when they have become deaf.
DEAF = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if len(sys.argv) == 2:
    subprocess.Popen([sys.executable, "-c", open(sys.argv[1] + ".py").read(), sys.argv[1], "child"])
with open(sys.argv[1], "a") as file:
    file.write(f"{os.getpid()}\\n")
time.sleep(600)
"""


@pytest.fixture
def deaf(tmp_path: Path) -> list[str]:
    """The command line of a worker that ignores SIGTERM."""
    (tmp_path / "ids.py").write_text(DEAF)
    return [sys.executable, "-c", DEAF, str(tmp_path / "ids")]


def both(tmp_path: Path) -> list[int]:
    """The ids of worker and child, once both are deaf."""
    end = time.monotonic() + 30
    while not (tmp_path / "ids").exists() or (tmp_path / "ids").read_text().count("\n") < 2:
        assert time.monotonic() < end
        time.sleep(0.02)
    return [int(line) for line in (tmp_path / "ids").read_text().split()]


def gone(pids: list[int], seconds: float) -> bool:
    """Whether processes have ended (or wait for somebody to collect their status) within some seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids):
            return True
        time.sleep(0.05)
    return False


def test_what_does_not_listen_is_ended_after_the_grace_period(deaf: list[str], tmp_path: Path) -> None:
    with Command(deaf, tmp_path, os.environ, grace_s=0.5, log=tmp_path / "log"):
        pids = both(tmp_path)
        began = time.monotonic()
    assert time.monotonic() - began >= 0.5
    assert gone(pids, 10)


def test_a_guard_ends_the_command_of_a_parent_that_was_killed(deaf: list[str], tmp_path: Path) -> None:
    parent = (
        "import os, sys, time; from pathlib import Path; from pipeline.processes import Command; "
        f"Command({deaf!r}, Path({str(tmp_path)!r}), os.environ, grace_s=0.5, log=Path({str(tmp_path / 'log')!r})); "
        "time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", parent])
    pids = both(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert gone(pids, 20)


def test_up_takes_a_worker_down_that_does_not_listen(deaf: list[str], tmp_path: Path) -> None:
    (tmp_path / up.LOGS).mkdir(parents=True)
    with up._kept_alive(up.Service("worker-cpu", deaf, {}, grace_s=0.5), tmp_path, threading.Event()):
        pids = both(tmp_path)
    assert gone(pids, 10)
