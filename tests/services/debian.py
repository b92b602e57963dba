"""Programs from Debian's packages, unpacked into a folder of temporary files: nothing is installed."""

import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path


class Unavailable(Exception):
    """The server cannot be had here; the message says why."""


def unpacked(name: str, packages: Sequence[str]) -> Path:
    """A folder with the files of Debian packages and of all that they need and this machine lacks.

    Raises:
        Unavailable: no Debian, or no way to its packages.
    """
    home = Path(tempfile.gettempdir()) / f"dreamtrace-services-{os.getuid()}"
    home.mkdir(mode=0o755, exist_ok=True)
    if home.stat().st_uid != os.getuid():
        raise Unavailable(f"{home} belongs to somebody else")
    home.chmod(0o755)  # whatever the umask: a server may run as another user
    folder = home / name
    with (home / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run side by side
        if not folder.is_dir():
            fresh = Path(tempfile.mkdtemp(dir=home))
            fresh.chmod(0o755)
            try:
                _unpack(packages, fresh)
                fresh.rename(folder)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
    return folder


def _unpack(packages: Sequence[str], folder: Path) -> None:
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        raise Unavailable("there is no apt-get to get it with")
    try:
        plan = _apt("-s", "--no-install-recommends", "install", *packages)
    except Unavailable:
        if os.getuid():
            raise
        _apt("-q", "update")  # a fresh image knows no packages
        plan = _apt("-s", "--no-install-recommends", "install", *packages)
    needed = {line.split()[1] for line in plan.splitlines() if line.startswith("Inst ")} | set(packages)
    debs = folder / "debs"
    debs.mkdir()
    if not os.getuid():
        debs.chmod(0o777)  # apt downloads as a user of its own
    _apt("-q", "download", *sorted(needed), cwd=debs)
    for deb in debs.glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(deb), str(folder)], check=True)
    shutil.rmtree(debs)


def _apt(*arguments: str, cwd: Path | None = None) -> str:
    command = ["apt-get", *arguments]
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=200)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"apt-get {arguments[-1]} took more than 200 s") from None
    if done.returncode:
        raise Unavailable(f"apt-get {arguments[-1]}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
    return done.stdout


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def await_port(port: int, process: subprocess.Popen[bytes], seconds: float = 60) -> None:
    """Wait until somebody listens."""

    def answers() -> bool:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True

    await_true(answers, process, seconds)


def await_true(ready: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float = 60) -> None:
    """Wait until a server that has just been started is ready.

    Raises:
        RuntimeError: it ended, or took too long.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            if ready():
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise RuntimeError(f"{process.args} did not start (status {process.poll()})")
