"""One DVC stage as one Prefect task: DVC decides whether it has to run, Prefect shows that it did."""

import logging
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
from pipeline.errors import NotNow, UserError
from pipeline.runs.dvc import reproduce
from pipeline.runs.stage_output import SAID

CACHED = re.compile(r"^(Stage )?'.+' (didn't change, skipping|is cached)")
EXITED = re.compile(r"exited with (-?\d+)")
TAIL, LONGEST = 12, 100  # lines of output, lines of a stage's own error, in the state of a run
HOUR = 3600.0


@dataclass(frozen=True)
class Policy:
    """How often a stage is tried again, after how many seconds, and how long one attempt may take."""

    delays_s: tuple[float, ...] = ()
    timeout_s: float = HOUR


# prior, train, tune and sample go on where an attempt ended; register waits for an MLflow that is away.
POLICIES = {
    "prior": Policy((10,), 12 * HOUR),
    "train": Policy((10, 60), 48 * HOUR),
    "select": Policy((10,), 12 * HOUR),
    "tune": Policy((10,), 12 * HOUR),
    "sample": Policy((10,), 12 * HOUR),
    "evaluate": Policy((10,), 6 * HOUR),
    "register": Policy((10, 60, 300), 2 * HOUR),
}


COMPUTING = ("prior", "train", "select", "tune", "sample", "evaluate")
LEASE_S = 60.0  # after which the slot of a run that died is free


class StageFailed(RuntimeError):
    """A stage ended with an error; the message holds the last lines of its output, `status` its exit status."""

    def __init__(self, message: str, again: bool = False, status: int = 1):
        super().__init__(message)
        self.again = again
        self.status = status


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
    code, level = None, logging.INFO
    for item in reproduce(stage, workspace, force):
        if isinstance(item, int):
            code = item
        elif item is not None:
            lines.append(item)
            level = logging.ERROR if item.startswith("error: ") else level  # and what follows: its problems
            if not SAID.match(item):
                logger.log(level, item)
        elif progress:
            progress.show()
    if code:
        raise StageFailed(f"stage {stage} failed:\n{_reason(lines)}", not _hopeless(lines), _status(lines))
    if progress:
        progress.show()
    if any(CACHED.search(line) for line in lines):
        return Completed(name="Cached", message=f"{stage} is up to date", data="cached")
    return Completed(message=f"{stage} ran", data="ran")


def worth_trying(_task: Any, _run: Any, state: State) -> bool:
    """Not where the stage said what is wrong with its inputs: that is there the next time, too."""
    error = state.result(raise_on_failure=False)
    if isinstance(error, StageFailed):
        return error.again
    return isinstance(error, NotNow) or not isinstance(error, UserError)


def _hopeless(lines: list[str]) -> bool:
    return _status(lines) == 1 and any(line.startswith("error: ") for line in lines)


def _reason(lines: list[str]) -> str:
    """The stage's own error, all of it; else the last lines of its output."""
    said = [line for line in lines if not SAID.match(line)]
    starts = [number for number, line in enumerate(said) if line.startswith("error: ")]
    return "\n".join(said[starts[-1] :][:LONGEST] if starts else said[-TAIL:])


def _status(lines: list[str]) -> int:
    """The stage's own exit status, from what DVC says of it; 1 where it says nothing."""
    exits = [int(found[1]) for line in lines if (found := EXITED.search(line))]
    return exits[-1] if exits else 1


def _without_traces(record: logging.LogRecord) -> bool:
    """Prefect logs an exception with its trace, once for the task and once for the flow. Where the exception is one
    that people are meant to read, its first line is enough: the rest stands in the log above and in the run's state.
    """
    error, told = record.exc_info[1] if record.exc_info else None, record.getMessage()
    if isinstance(error, StageFailed | UserError):
        record.exc_info, record.args = None, None
        record.msg = str(error).splitlines()[0].removesuffix(":")
    elif told.startswith("Finished in state ") and "\\n" in told:
        record.msg, record.args = told.partition("\\n")[0].removesuffix(":") + "')", None
    return True


for name in ("prefect.task_runs", "prefect.flow_runs"):
    logging.getLogger(name).addFilter(_without_traces)
