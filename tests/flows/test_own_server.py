"""The Prefect server of one command: it ends with the command, is nobody else's, and takes what is said last."""

import base64
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

from pipeline.errors import UserError
from pipeline.servers import prefect_for_command
from pipeline.servers.prefect_for_command import (
    PrefectSilent,
    check_api,
    find_home,
    free_port,
    named_by_profile,
    provide_prefect,
)
from tests.workspace import ROOT

# A command as `dreamtrace run` is one, whose flow waits until it is told to stop.
COMMAND = """
import os, sys, time
from pathlib import Path
from pipeline.servers.prefect_for_command import provide_prefect
provide_prefect(Path(sys.argv[1]))
from prefect import flow, task
@task
def wait():
    Path(sys.argv[1], "waiting").write_text(os.environ["PREFECT_API_URL"])
    while Path(sys.argv[1], "waiting").exists():
        time.sleep(0.05)
@flow(name="waiting")
def waiting():
    wait()
waiting()
"""
PROFILE = """
active = "cloud"
[profiles.cloud]
PREFECT_API_URL = "https://somebody:secret@api.example.com/api"
"""


def servers(command: int) -> set[int]:
    """The Prefect servers among the processes that a command started."""
    started = psutil.Process(command).children(recursive=True)
    return {process.pid for process in started if "pipeline.servers.prefect_app:app" in process.cmdline()}


def status(url: str, method: str, credentials: str = "") -> int:
    headers = {"Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}"} if credentials else {}
    request = urllib.request.Request(url, b"{}" if method == "POST" else None, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as found:
            return int(found.status)
    except urllib.error.HTTPError as error:
        return error.code


def until_gone(pids: set[int]) -> None:
    end = time.monotonic() + 30
    while any(psutil.pid_exists(pid) for pid in pids):
        assert time.monotonic() < end, "the server is left behind"
        time.sleep(0.1)


def test_a_command_that_is_ended_leaves_no_server_behind(tmp_path: Path) -> None:
    (tmp_path / "profiles.toml").write_text(PROFILE)
    given = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    given |= {"PYTHONPATH": str(ROOT), "PREFECT_HOME": str(tmp_path), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(tmp_path)], env=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        while not (tmp_path / "waiting").exists():
            assert process.poll() is None, process.stdout.read() if process.stdout else ""
            time.sleep(0.1)
        assert (tmp_path / "waiting").read_text().startswith("http://127.0.0.1:")  # not the profile's
        own = servers(process.pid)
        assert len(own) == 1
        api, server = (tmp_path / "waiting").read_text(), psutil.Process(*own)
        secret = server.environ()["PREFECT_SERVER_API_AUTH_STRING"]
        for method, path in (("GET", "/admin/version"), ("POST", "/flows/"), ("POST", "/flow_runs/filter")):
            assert status(f"{api}{path}", method) in (401, 403)  # the command's own client was let in
        assert status(f"{api}/admin/version", "GET", secret) == 200
        assert not any(secret.partition(":")[2] in word for word in server.cmdline())
        process.terminate()
        assert process.wait(60) == -signal.SIGTERM
        until_gone(own)
        assert process.stdout is not None
        for told in (process.stdout.read(), (tmp_path / ".dreamtrace" / "prefect-server.log").read_bytes()):
            assert secret.partition(":")[2].encode() not in told
    finally:
        process.kill()
        process.wait()


def test_a_server_answers_its_own_command_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "of:another server")
    made = prefect_for_command._environment(4321, "dreamtrace:of this command")
    assert made["PREFECT_SERVER_API_AUTH_STRING"] == made["PREFECT_API_AUTH_STRING"] == "dreamtrace:of this command"
    assert made["PREFECT_SERVER_CSRF_PROTECTION_ENABLED"] == "true"
    origins = made["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"].split(",")
    assert set(origins) == {"http://127.0.0.1:4321", "http://localhost:4321"}


def test_the_profile_is_named_without_its_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PREFECT_PROFILE", "PREFECT_PROFILES_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    assert named_by_profile() is None
    for text in ("active = ", 'active = "gone"', "\\0", 'active = "x"\n[profiles.x]\nPREFECT_LOGGING_LEVEL = "INFO"'):
        (tmp_path / "profiles.toml").write_text(text)
        assert named_by_profile() is None
    (tmp_path / "profiles.toml").write_text(PROFILE)
    assert named_by_profile() == ("cloud", "https://api.example.com/api")


@pytest.mark.parametrize(
    ("profiles", "variables", "words"),
    [
        ("active = 'x\n[[[", {}, 'Expected "\'"'),
        ('active = "x"\n[profiles.x]\nPREFECT_API_REQUEST_TIMEOUT = "soon"', {}, "request_timeout"),
        ("", {"PREFECT_API_REQUEST_TIMEOUT": "soon"}, "request_timeout"),
    ],
)
def test_settings_of_prefect_that_are_wrong_are_named(
    profiles: str, variables: dict[str, str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "profiles.toml").write_text(profiles)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    for name, value in {**variables, "PREFECT_HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    # What the server of this command does with such settings, without its two seconds:
    monkeypatch.setattr(
        prefect_for_command, "_server", lambda port: [sys.executable, "-S", "-c", "raise SystemExit(1)"]
    )
    with pytest.raises(UserError, match=r"Prefect cannot read its settings") as caught:
        provide_prefect(tmp_path)
    assert words in str(caught.value) and str(tmp_path / "profiles.toml") in str(caught.value)
    assert "Traceback" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_home_of_prefect_that_is_no_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"PREFECT_HOME is .*file, which is no folder that can be written"):
        find_home(tmp_path)


def test_a_server_of_the_environment_is_asked_once_and_before_what_refuses_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.commands.flow_process import SETTINGS, prepare_servers

    told: list[str] = []
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:4200/api")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name, value in SETTINGS.items():  # it sets them for good
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(prefect_for_command, "silence", told.append)
    monkeypatch.setattr(prefect_for_command, "check_settings", lambda: told.append("settings"))
    prepare_servers(tmp_path, first=lambda: told.append("first"))
    assert told == ["http://127.0.0.1:4200/api/health", "first", "settings"]


def test_a_server_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"http://u:secret@127.0.0.1:{free_port()}/api"
    monkeypatch.setenv("PREFECT_API_URL", url)
    with pytest.raises(PrefectSilent, match=r"does not answer: .*unset PREFECT_API_URL") as caught:
        provide_prefect(tmp_path)
    assert "secret" not in str(caught.value) and caught.value.status == 75
    with pytest.raises(UserError, match="must be an address"):
        check_api("localhost:4200")


def test_without_a_home_prefect_s_files_are_in_the_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    find_home(tmp_path / "team")
    assert "PREFECT_HOME" not in os.environ
    for home in ("/proc/nobody", "/dev/null"):
        monkeypatch.setenv("HOME", home)
        find_home(tmp_path / "team")
        assert os.environ.pop("PREFECT_HOME") == str(tmp_path / "team" / ".dreamtrace" / "prefect")
