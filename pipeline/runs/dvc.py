"""DVC at work in a workspace: its commands, the photos fetched, one stage brought up to date."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.errors import NotNow, UserError
from pipeline.files import write_text
from pipeline.layout import DATA, DATA_DVC, STATE
from pipeline.lineage.git import without_repository
from pipeline.network.reachable import shown, silence
from pipeline.processes import Command, complaint
from pipeline.runs.dvc_locks import remove_stale, wait_for_dvc
from pipeline.runs.stage_output import pass_on
from pipeline.training.signals import SAVE_S

FETCHING = STATE / "fetching-photos"  # there while photos are being fetched: what a killed fetch left is incomplete


class DvcError(UserError):
    """A DVC command failed; the message is DVC's own complaint."""


class DataError(UserError):
    """The photos are not available."""


class RemoteSilent(DataError, NotNow):
    """The DVC remote that has the photos does not answer."""


def run_dvc(workspace: Path, *arguments: str) -> str:
    """Run a DVC command in a workspace; returns what it printed.

    Raises:
        DvcError: the command failed.
    """
    remove_stale(workspace)
    done = subprocess.run(
        _command(*arguments), cwd=workspace, env=_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise DvcError(f"`dvc {' '.join(arguments[:2])}` failed in {workspace}: {complaint(done)}")
    return done.stdout


def dvc_settings(workspace: Path) -> dict[str, str]:
    """DVC's settings by name, such as `remote.team.url`; paths are absolute, whatever folder they are relative to."""
    pairs = (line.partition("=") for line in run_dvc(workspace, "config", "--list").splitlines())
    return {name: value for name, equals, value in pairs if equals}


def write_settings(file: Path, settings: Mapping[str, str]) -> None:
    """Add settings by name, such as `remote.team.url`, to a `config.local` of DVC; it may hold passwords.

    DVC's own commands write no letters beyond ASCII, as paths have them; they read them.
    """
    from configobj import ConfigObj

    found = ConfigObj(file.read_text(encoding="utf-8").splitlines() if file.is_file() else [], encoding="utf-8")
    for name, value in settings.items():
        section, _, rest = name.partition(".")
        inner, _, key = rest.rpartition(".")
        found.setdefault(f'{section} "{inner}"' if inner else section, {})[key] = value
    lines = [line.decode() if isinstance(line, bytes) else line for line in found.write()]
    write_text(file, "\n".join(lines) + "\n", private=True)


def fetch_data(workspace: Path) -> None:
    """Get the photos of data.dvc from the cache or the DVC remote, where the folder is missing or incomplete.

    Raises:
        DataError: there is nothing to get, or the remote does not have it.
        RemoteSilent: the remote does not answer.
    """
    incomplete = workspace / FETCHING
    if (workspace / DATA).is_dir() and not incomplete.exists():
        return
    if not (workspace / DATA_DVC).is_file():
        raise DataError(f"there is neither {DATA}/ nor {DATA_DVC}: put photos and a metadata.jsonl into {DATA}/")
    incomplete.parent.mkdir(parents=True, exist_ok=True)
    incomplete.touch()
    _get_photos(workspace)
    incomplete.unlink()


def reproduce(
    stage: str, workspace: Path, force: bool = False, given: Mapping[str, str] | None = None
) -> Iterator[str | int | None]:
    """Run `dvc repro --single-item`: its output goes to the terminal as it comes, progress bars too, DVC's advice not.

    `given` is set in the stage's environment. Yields the finished lines (the last state of each progress bar among
    them), None every few seconds, and the exit status in the end. Closing the iterator ends the stage.

    Raises:
        DvcBusy: another DVC process writes in the workspace and does not end within a minute.
    """
    wait_for_dvc(workspace)
    command = _command("repro", "--single-item", *(["--force"] if force else []), stage)
    environment = {**_environment(), "PYTHONUNBUFFERED": "1", "TQDM_NCOLS": "88", **(given or {})}
    with Command(command, workspace, environment, grace_s=SAVE_S) as running:
        yield from pass_on(running.output())
        yield running.process.wait()


def _get_photos(workspace: Path) -> None:
    try:  # a pull asks the remote even for what is in the cache: one that cannot be reached need not matter
        run_dvc(workspace, "checkout", "--quiet", str(DATA_DVC))
    except DvcError:
        pass
    else:
        if (workspace / DATA).is_dir():
            return
    settings = dvc_settings(workspace)
    remote = settings.get("core.remote")
    address = settings.get(f"remote.{remote}.endpointurl") or settings.get(f"remote.{remote}.url", "")
    if (reason := silence(address)) is not None:
        raise RemoteSilent(
            f"the photos could not be fetched: the DVC remote {remote} at {shown(address)} does not answer: {reason}; "
            "start it, or check `dvc remote list`, then run the same command again"
        )
    try:
        run_dvc(workspace, "pull", str(DATA_DVC))
    except DvcError as error:
        raise DataError(f"the photos could not be fetched: {error}") from None


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "dvc", *arguments]


def _environment() -> dict[str, str]:
    """This process's environment, with the Python that runs it first on the path: stages are run by `python`."""
    here = Path(sys.executable).parent
    return {**without_repository(), "PATH": f"{here}{os.pathsep}{os.environ.get('PATH', '')}"}
