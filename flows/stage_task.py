"""One DVC stage as one Prefect task: DVC decides whether it has to run, Prefect shows that it did."""

import re
from pathlib import Path

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas import State
from prefect.states import Completed

from pipeline.repro import reproduce

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
