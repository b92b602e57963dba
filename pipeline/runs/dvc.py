"""DVC at work in a workspace: the photos fetched, one stage brought up to date."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.errors import UserError
from pipeline.layout import DATA, DATA_DVC
from pipeline.processes import Command, complaint


class DataError(UserError):
    """The photos are not to be had."""


def fetch_data(workspace: Path) -> None:
    """Get the photos of data.dvc from the cache or the DVC remote, where the folder is missing.

    Raises:
        DataError: there is nothing to get, or the remote does not have it.
    """
    if (workspace / DATA).is_dir():
        return
    if not (workspace / DATA_DVC).is_file():
        raise DataError(f"there is neither {DATA}/ nor {DATA_DVC}: put photos and a metadata.jsonl into {DATA}/")
    dvc = [sys.executable, "-m", "dvc"]
    # A pull asks the remote even for what is in the cache: one that is away need not matter.
    cached = subprocess.run(
        [*dvc, "checkout", "--quiet", str(DATA_DVC)], cwd=workspace, capture_output=True, check=False
    )
    if cached.returncode == 0 and (workspace / DATA).is_dir():
        return
    done = subprocess.run([*dvc, "pull", str(DATA_DVC)], cwd=workspace, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DataError(f"`dvc pull {DATA_DVC}` did not bring the photos: {complaint(done)}")


def reproduce(
    stage: str, workspace: Path, force: bool = False, given: Mapping[str, str] | None = None
) -> Iterator[str | int | None]:
    """Run `dvc repro --single-item`: its output goes to the terminal as it comes, progress bars too.

    `given` is set in the stage's environment. Yields the finished lines (the last state of each progress bar among
    them), None every few seconds, and the exit status in the end. Whoever stops listening ends the stage.
    """
    command = [sys.executable, "-m", "dvc", "repro", "--single-item", *(["--force"] if force else []), stage]
    here = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{here}{os.pathsep}{os.environ.get('PATH', '')}"}
    environment |= {"PYTHONUNBUFFERED": "1", "TQDM_NCOLS": "88", **(given or {})}
    with Command(command, workspace, environment) as running:
        yield from _lines(running.output())
        yield running.process.wait()


def _lines(chunks: Iterator[str | None]) -> Iterator[str | None]:
    waiting = ""
    for text in chunks:
        if text is None:
            yield None
            continue
        sys.stdout.write(text)
        sys.stdout.flush()
        waiting += text
        *whole, waiting = waiting.split("\n")
        yield from (shown for line in whole if (shown := line.rstrip("\r").rpartition("\r")[2].strip()))
    if shown := waiting.rpartition("\r")[2].strip():
        yield shown
