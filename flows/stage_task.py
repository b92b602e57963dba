"""One DVC stage as one Prefect task: DVC decides whether it has to run, Prefect shows that it did."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas import State
from prefect.states import Completed

CACHED = re.compile(r"^(Stage )?'.+' (didn't change, skipping|is cached)")
TAIL = 12


class StageFailed(RuntimeError):
    """A stage ended with an error; the message holds the last lines of its output."""


@task(task_run_name="{stage}", cache_policy=NO_CACHE)
def run_stage(stage: str, workspace: Path, force: bool = False) -> State:
    """Bring one stage up to date, or run it whatever DVC says (`force`).

    A stage that had nothing to do ends in a completed state named "Cached".

    Raises:
        StageFailed: the stage, or DVC itself, reported an error.
    """
    logger = get_run_logger()
    lines: list[str] = []
    code = None
    for item in reproduce(stage, workspace, force):
        if isinstance(item, int):
            code = item
        else:
            lines.append(item)
            logger.info(item)
    if code:
        raise StageFailed(f"stage {stage} failed:\n" + "\n".join(lines[-TAIL:]))
    if any(CACHED.search(line) for line in lines):
        return Completed(name="Cached", message=f"{stage} is up to date", data="cached")
    return Completed(message=f"{stage} ran", data="ran")


def reproduce(stage: str, workspace: Path, force: bool = False) -> Iterator[str | int]:
    """Run `dvc repro --single-item`: its output goes to the terminal as it comes, progress bars too.

    Yields the finished lines (the last state of each progress bar among them), then the exit status.
    """
    command = [sys.executable, "-m", "dvc", "repro", "--single-item", *(["--force"] if force else []), stage]
    here = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{here}{os.pathsep}{os.environ.get('PATH', '')}"}
    environment |= {"PYTHONUNBUFFERED": "1", "TQDM_NCOLS": "88"}
    process = subprocess.Popen(
        command, cwd=workspace, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        assert process.stdout is not None
        yield from _lines(process.stdout)
        yield process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def _lines(stream: IO[bytes]) -> Iterator[str]:
    waiting = ""
    while chunk := os.read(stream.fileno(), 1 << 16):
        text = chunk.decode(errors="replace")
        sys.stdout.write(text)
        sys.stdout.flush()
        waiting += text
        *whole, waiting = waiting.split("\n")
        yield from (shown for line in whole if (shown := line.rstrip("\r").rpartition("\r")[2].strip()))
    if shown := waiting.rpartition("\r")[2].strip():
        yield shown
