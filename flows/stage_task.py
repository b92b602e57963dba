"""One DVC stage as one Prefect task: DVC decides whether it has to run, Prefect shows that it did."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas import State
from prefect.concurrency.sync import concurrency
from prefect.states import Completed

from flows.progress import Progress
from pipeline.environment import DEVICE_SLOT
from pipeline.errors import UserError
from pipeline.runs.dvc import reproduce

CACHED = re.compile(r"^(Stage )?'.+' (didn't change, skipping|is cached)")
EXITED = re.compile(r"exited with (-?\d+)")
TAIL = 12
HOUR = 3600.0


@dataclass(frozen=True)
class Policy:
    """How often a stage is tried again, after how many seconds, and how long one attempt may take."""

    delays_s: tuple[float, ...] = ()
    timeout_s: float = HOUR


# prior, train and sample go on where an attempt ended; register waits for an MLflow that is away.
POLICIES = {
    "prior": Policy((10,), 12 * HOUR),
    "train": Policy((10, 60), 48 * HOUR),
    "select": Policy((10,), 12 * HOUR),
    "sample": Policy((10,), 12 * HOUR),
    "evaluate": Policy((10,), 6 * HOUR),
    "register": Policy((10, 60, 300), 2 * HOUR),
}


COMPUTING = ("prior", "train", "select", "sample", "evaluate")
LEASE_S = 60.0  # after which the slot of a run that died is free


class StageFailed(RuntimeError):
    """A stage ended with an error; the message holds the last lines of its output."""

    def __init__(self, message: str, again: bool = False):
        super().__init__(message)
        self.again = again


def run_stage(stage: str, workspace: Path, force: bool = False) -> State:
    """Bring one stage up to date under its policy, or run it whatever DVC says (`force`).

    Raises:
        StageFailed: the stage, or DVC itself, reported an error.
    """
    policy = POLICIES.get(stage, Policy())
    configured = stage_task.with_options(
        retries=len(policy.delays_s),
        retry_delay_seconds=list(policy.delays_s),
        retry_condition_fn=worth_trying,
        timeout_seconds=policy.timeout_s,
    )
    with slot(stage):
        state: State = configured(stage, workspace, force, return_state=True)
    if state.is_completed():
        return state
    error = state.result(raise_on_failure=False)
    raise error if isinstance(error, BaseException) else StageFailed(f"stage {stage} failed: {state.message}")


@contextmanager
def slot(stage: str) -> Iterator[None]:
    """Stages that compute take turns on a device, where its worker names one (DREAMTRACE_SLOT)."""
    device = os.environ.get(DEVICE_SLOT)
    if device is None or stage not in COMPUTING:
        yield
        return
    with concurrency(device, lease_duration=LEASE_S, raise_on_lease_renewal_failure=False):
        yield


@task(name="stage", task_run_name="{stage}", cache_policy=NO_CACHE)
def stage_task(stage: str, workspace: Path, force: bool = False) -> State:
    """One attempt. A stage that had nothing to do ends in a completed state named "Cached"."""
    logger = get_run_logger()
    progress = Progress(workspace) if stage == "train" else None
    lines: list[str] = []
    code = None
    for item in reproduce(stage, workspace, force):
        if isinstance(item, int):
            code = item
        elif item is not None:
            lines.append(item)
            logger.info(item)
        elif progress:
            progress.show()
    if code:
        raise StageFailed(f"stage {stage} failed:\n" + "\n".join(lines[-TAIL:]), not _hopeless(lines))
    if progress:
        progress.show()
    if any(CACHED.search(line) for line in lines):
        return Completed(name="Cached", message=f"{stage} is up to date", data="cached")
    return Completed(message=f"{stage} ran", data="ran")


def worth_trying(_task: Any, _run: Any, state: State) -> bool:
    """Not where the stage said what is wrong with its inputs: that is there the next time, too."""
    error = state.result(raise_on_failure=False)
    return not (isinstance(error, UserError) or (isinstance(error, StageFailed) and not error.again))


def _hopeless(lines: list[str]) -> bool:
    exits = [int(found[1]) for line in lines if (found := EXITED.search(line))]
    return exits[-1:] == [1] and any(line.startswith("error: ") for line in lines)
