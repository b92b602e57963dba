"""A Prefect flow run inside the command's own process: quiet, a failed stage reported in one sentence."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.commands.errors import CommandError

QUIET = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "ERROR", "PREFECT_SERVER_LOGGING_LEVEL": "ERROR"}


def quiet_prefect(console_level: str = "ERROR") -> None:
    """Keep Prefect's log off the terminal unless the environment says otherwise; call it before importing Prefect."""
    for name, value in {**QUIET, "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": console_level}.items():
        os.environ.setdefault(name, value)


@contextmanager
def stage_failures(where: str = "") -> Iterator[None]:
    """Turn the failure of a stage into a sentence; `where` names the folder of the run, if it is not this one.

    Raises:
        CommandError: a stage failed.
    """
    from flows.stage_task import StageFailed

    try:
        yield
    except StageFailed as error:
        stage = str(error).split(" failed", 1)[0]
        raise CommandError(f"{stage} failed{f' in {where}' if where else ''}; see its output above") from None
