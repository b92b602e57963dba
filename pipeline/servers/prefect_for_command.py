"""A Prefect API for the flow of one command: the environment's server, or one that ends with the command."""

import atexit
import os
import secrets
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Callable
from pathlib import Path

from pipeline.errors import NotNow, UserError, no_space
from pipeline.layout import STATE
from pipeline.network.reachable import shown, silence
from pipeline.processes import Command
from pipeline.servers.authentication import USER
from pipeline.servers.start_commands import HOST, page_environment

URL, CREDENTIALS = "PREFECT_API_URL", "PREFECT_API_AUTH_STRING"
LOG = STATE / "prefect-server.log"
READY_S, GRACE_S = 180.0, 5.0
SETTINGS_S = 60.0
# Prefect reads its settings while it is imported, which nothing can undo: they are tried in a process of their own.
TRY_SETTINGS = """
import warnings
warnings.simplefilter("ignore")
try:
    import prefect.context
except Exception as error:
    print("\\nREASON " + " ".join(str(error).partition("For further information")[0].split()))
"""
ATTEMPTS = 3  # another program may take the port that was free a moment ago


class PrefectSilent(NotNow):
    """The Prefect server does not answer."""


class PrefectDoesNotStart(UserError):
    """The server of this command ends while it starts."""


def provide_prefect(workspace: Path, first: Callable[[], object] | None = None) -> None:
    """Set PREFECT_API_URL to a server for the flows of this process; call it before Prefect is imported.

    A server of the environment is used as it is. What a profile, a `.env` or a `prefect.toml` names is not: a run must
    not depend on, or be sent to, a server that nobody named for it. The server of this command has a process group of
    its own, keeps its runs in Prefect's database of this machine, and ends with this process, however that ends. It
    answers this process and its children alone: they have its credentials in their environment.

    Args:
        first: called once a server of the environment has answered, before one is started, which takes seconds: it
            refuses what needs no flow to be refused.

    Raises:
        PrefectSilent: the server of the environment does not answer.
        PrefectDoesNotStart: there is none, and that of this command does not start.
        UserError: PREFECT_API_URL is no address, Prefect's settings are wrong, or a disk is full.
    """
    find_home(workspace)
    given = os.environ.get(URL)
    check_api(given)
    if first is not None:
        first()
    if given:
        check_settings()
        return
    if (profile := named_by_profile()) is not None:
        name, address = profile
        print(f"not used: Prefect's server {address} of the profile '{name}'; set {URL} to use it", file=sys.stderr)
    if (full := no_space()) is not None:
        raise full
    log = workspace / LOG
    log.parent.mkdir(parents=True, exist_ok=True)
    credentials = f"{USER}:{secrets.token_urlsafe(32)}"
    for _ in range(ATTEMPTS):
        port = free_port()
        api = f"http://{HOST}:{port}/api"
        server = Command(_server(port), workspace, _environment(port, credentials), grace_s=GRACE_S, log=log)
        atexit.register(server.end)  # runs after what Prefect registers later: its last words reach the server
        if _ready(f"{api}/health", server):
            os.environ |= {URL: api, CREDENTIALS: credentials, "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "true"}
            return
        ended = server.process.poll() is not None
        atexit.unregister(server.end)
        server.end()
        if ended:
            check_settings()
    raise PrefectDoesNotStart(f"Prefect's server does not start; {log} says why")


def check_settings() -> None:
    """Have Prefect read this user's settings: its profile, and the variables PREFECT_*.

    Raises:
        UserError: it cannot; the message names the setting, and where it may stand.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", TRY_SETTINGS],
            env=os.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SETTINGS_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return
    reason = next((line[7:] for line in done.stdout.splitlines() if line.startswith("REASON ")), None)
    if reason is not None:
        raise UserError(
            f"Prefect cannot read its settings: {reason}; correct {_profiles()}, or the variable PREFECT_* that says so"
        )


def find_home(workspace: Path) -> None:
    """Where this user has no home, or none that can be written, Prefect's files go into the workspace.

    Raises:
        UserError: PREFECT_HOME names a folder that cannot be written.
    """
    given = os.environ.get("PREFECT_HOME")
    try:
        home = Path(given or "~/.prefect").expanduser()
        home.mkdir(parents=True, exist_ok=True)
        usable = os.access(home, os.W_OK)
    except (OSError, RuntimeError):
        usable = False
    if given and not usable:
        raise UserError(f"PREFECT_HOME is {given}, which is no folder that can be written; set another, or unset it")
    if not usable:
        os.environ["PREFECT_HOME"] = str((workspace / STATE / "prefect").resolve())


def check_api(url: str | None) -> None:
    """Ask a Prefect server for a sign of life; without an address there is nothing to ask.

    Raises:
        PrefectSilent: it gives none.
        UserError: this is no address.
    """
    if not url:
        return
    if not url.startswith(("http://", "https://")):
        raise UserError(f"{URL} is '{url}'; it must be an address such as http://127.0.0.1:4200/api")
    if (reason := silence(f"{url.rstrip('/')}/health")) is not None:
        raise PrefectSilent(
            f"the Prefect server at {URL}={shown(url)} does not answer: {reason}; start it with `dreamtrace up`, or "
            f"unset {URL}, then run the same command again"
        )


def named_by_profile() -> tuple[str, str] | None:
    """Name and address of the server that Prefect's active profile names, where it can be read."""
    try:
        found = tomllib.loads(_profiles().read_text())
        active = os.environ.get("PREFECT_PROFILE") or found["active"]
        return active, shown(str(found["profiles"][active][URL]))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):
        return None


def _profiles() -> Path:
    """The file of Prefect's profiles of this user."""
    given = os.environ.get("PREFECT_PROFILES_PATH")
    return Path(given or Path(os.environ.get("PREFECT_HOME") or "~/.prefect") / "profiles.toml").expanduser()


def _server(port: int) -> list[str]:
    application = [
        "--app-dir",
        str(Path(__file__).resolve().parents[2]),
        "--factory",
        "pipeline.servers.prefect_app:app",
        "--lifespan",
        "on",
        "--log-level",
        "error",
    ]
    return [sys.executable, "-m", "uvicorn", *application, "--host", HOST, "--port", str(port)]


def _environment(port: int, credentials: str) -> dict[str, str]:
    """The server's: it shares its database with other servers, whose workers start what is planted there."""
    asked = {"PREFECT_SERVER_API_AUTH_STRING": credentials, CREDENTIALS: credentials}
    return {**os.environ, **page_environment(port), **asked, "PREFECT_UI_ENABLED": "0", URL: ""}


def _ready(address: str, server: Command) -> bool:
    end = time.monotonic() + READY_S
    while time.monotonic() < end and server.process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return True
        except OSError:
            time.sleep(0.1)
    return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
