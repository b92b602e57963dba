"""PostgreSQL on the loopback interface: the one that is installed, else Debian's packages, unpacked."""

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from tests.services.debian import Unavailable, await_true, free_port, unpacked

NOBODY = 65534  # PostgreSQL refuses to run as root


class PostgresServer:
    """A server with a folder of its own; it ends with this process. Databases are for the user `dreamtrace`."""

    def __init__(self) -> None:
        self.programs, libraries = _programs()
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-", dir="/tmp"))  # short: a socket's path is limited
        self.environment = {**os.environ, "LD_LIBRARY_PATH": str(libraries), "LC_ALL": "C.UTF-8"}
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        if os.getuid() == 0:
            os.chown(self.folder, NOBODY, NOBODY)
        try:
            self._call(
                "initdb", "-D", f"{self.folder}/data", "-U", "dreamtrace", "--auth=trust", "--no-sync", "-E", "UTF8"
            )
            self.start()
        except BaseException:
            self.remove()
            raise

    def start(self) -> None:
        """Listen on the port; data from before is there."""
        settings = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": self.folder}
        settings |= {"fsync": "off", "max_connections": 400}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            command = [*_as_nobody(), str(self.programs / "postgres"), "-D", f"{self.folder}/data", *options]
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "INT", *command] if not _as_nobody() else command,
                env=self.environment,
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )
        await_true(self._answers, self.process)

    def stop(self) -> None:
        """Cut off every connection and end; the data stays."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait()
            self.process = None

    def remove(self) -> None:
        """End and remove the data."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def database(self, name: str, template: str = "template1") -> str:
        """Make a database, empty or a copy of another that nobody is connected to; its SQLAlchemy URL."""
        where = ("-h", "127.0.0.1", "-p", str(self.port), "-U", "dreamtrace")
        self._call("createdb", *where, "-T", template, name)
        return f"postgresql://dreamtrace@127.0.0.1:{self.port}/{name}"

    def _answers(self) -> bool:
        command = [str(self.programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(command, env=self.environment, check=False).returncode == 0

    def _call(self, program: str, *arguments: str) -> None:
        command = [*_as_nobody(), str(self.programs / program), *arguments]
        done = subprocess.run(
            command, env=self.environment, cwd=self.folder, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stderr}")


def _as_nobody() -> list[str]:
    if os.getuid():
        return []
    who = (f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    return ["setpriv", *who, "--pdeathsig", "INT"]


def _programs() -> tuple[Path, Path]:
    """The folder of PostgreSQL's programs, and that of the libraries which came with them."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if installed:
        return installed[-1].parent, installed[-1].parent.parent / "lib"
    root = unpacked("postgresql", ["postgresql", "postgresql-contrib", "libpq5"])
    found = sorted(root.glob("usr/lib/postgresql/*/bin/postgres"))
    if not found:
        raise Unavailable("Debian's package holds no PostgreSQL")
    return found[-1].parent, next(root.glob("usr/lib/*-linux-gnu"))
