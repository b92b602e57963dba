"""A command and what it starts end together, also where they do not listen or where their parent is killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from pipeline.processes import Command
from pipeline.servers import up

ROOT = Path(__file__).parents[1]

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


# A worker like Prefect's: told to stop it waits for its run, which has a session of its own and saves what it has; told
# twice it ends at once.
WORKER = """
import os, signal, subprocess, sys
told = []
def stop(*_):
    told.append(1)
    if len(told) > 1:
        os._exit(3)
signal.signal(signal.SIGTERM, stop)
run = subprocess.Popen([sys.executable, sys.argv[1] + ".run.py", sys.argv[1]], start_new_session=True)
with open(sys.argv[1], "a") as file:
    file.write(f"{os.getpid()}\\n")
run.wait()
with open(sys.argv[1] + ".told", "w") as file:
    file.write(str(len(told)))
"""
RUN = """
import os, signal, sys, time
def save(*_):
    time.sleep(0.3)
    open(sys.argv[1] + ".saved", "w").close()
    sys.exit()
signal.signal(signal.SIGTERM, save)
with open(sys.argv[1], "a") as file:
    file.write(f"{os.getpid()}\\n")
time.sleep(600)
"""


@pytest.fixture
def worker(tmp_path: Path) -> list[str]:
    """The command line of a worker with a run in a session of its own."""
    (tmp_path / "ids.run.py").write_text(RUN)
    return [sys.executable, "-c", WORKER, str(tmp_path / "ids")]


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


def test_a_run_in_a_session_of_its_own_saves_and_the_worker_waits_for_it(worker: list[str], tmp_path: Path) -> None:
    with Command(worker, tmp_path, os.environ, grace_s=60, log=tmp_path / "log", apart=True):
        pids = both(tmp_path)
    assert gone(pids, 1)
    assert (tmp_path / "ids.saved").exists() and (tmp_path / "ids.told").read_text() == "1"


def test_a_guard_tells_a_run_in_a_session_of_its_own(worker: list[str], tmp_path: Path) -> None:
    (tmp_path / "pipeline").mkdir()  # another program's, where the command is given
    parent = (
        "import os, sys, time; from pathlib import Path; from pipeline.processes import Command; "
        f"os.chdir({str(tmp_path)!r}); "
        f"Command({worker!r}, Path(), os.environ, grace_s=60, log=Path('log'), apart=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", parent])
    pids = both(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert gone(pids, 30)
    assert (tmp_path / "ids.saved").exists() and (tmp_path / "ids.told").read_text() == "1"


def test_a_container_s_first_process_tells_worker_and_run(worker: list[str], tmp_path: Path) -> None:
    first = subprocess.Popen([sys.executable, str(ROOT / "deploy" / "worker.py"), *worker], start_new_session=True)
    pids = both(tmp_path)
    first.send_signal(signal.SIGTERM)  # as Docker does: to this one alone
    assert first.wait(60) == 0
    assert gone(pids, 1)
    assert (tmp_path / "ids.saved").exists() and (tmp_path / "ids.told").read_text() == "1"


def test_up_tells_all_before_it_waits_for_one(tmp_path: Path) -> None:
    (tmp_path / up.LOGS).mkdir(parents=True)
    ends = (
        "import os, signal, sys, time\n"
        "def stop(*_):\n"
        "    open(sys.argv[1] + '.told', 'w').close()\n"
        "    while not os.path.exists(sys.argv[2] + '.told'): time.sleep(0.05)\n"
        "    open(sys.argv[1] + '.saved', 'w').close()\n"
        "    sys.exit()\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "open(sys.argv[1], 'w').close()\n"
        "time.sleep(600)\n"
    )
    with ExitStack() as running, up._told_at_once() as at_work:
        for one, other in (("a", "b"), ("b", "a")):
            service = up.Service(one, [sys.executable, "-c", ends, one, other], {}, grace_s=15)
            at_work.append(running.enter_context(up._kept_alive(service, tmp_path, threading.Event())))
        end = time.monotonic() + 30
        while not ((tmp_path / "a").exists() and (tmp_path / "b").exists()):
            assert time.monotonic() < end
            time.sleep(0.02)
    assert (tmp_path / "a.saved").exists() and (tmp_path / "b.saved").exists()


def test_a_command_whose_guard_cannot_be_started_is_not_left_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, started = subprocess.Popen, list[subprocess.Popen]()

    def refused_the_second_time(*arguments, **named):
        if started:
            raise OSError("no more processes")
        started.append(real(*arguments, **named))
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", refused_the_second_time)
    with pytest.raises(OSError, match="no more processes"):
        Command(["sleep", "600"], tmp_path, os.environ)
    assert started[0].returncode == -signal.SIGKILL
