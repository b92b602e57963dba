"""A Prefect flow run inside the command's own process: quiet, a failed stage reported in one sentence."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.commands.errors import CommandError
from pipeline.errors import TRY_AGAIN

SETTINGS = {
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",  # 20 s are too few where others compute
}


def quiet_prefect(console_level: str = "CRITICAL") -> None:
    """Keep Prefect's log off the terminal unless the environment says otherwise; call it before importing Prefect.

    What a stage prints goes to the terminal without Prefect, and an error that ends the flow is raised to the command.
    """
    for name, value in {**SETTINGS, "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": console_level}.items():
        os.environ.setdefault(name, value)


@contextmanager
def stage_failures(where: str = "") -> Iterator[None]:
    """Turn the failure of a stage into a sentence; `where` names the folder of the run, if it is not this one.

    Raises:
        CommandError: a stage failed; its status is 75 where the same command may succeed later.
    """
    from flows.stage_task import StageFailed

    try:
        yield
    except StageFailed as error:
        stage = str(error).split(" failed", 1)[0]
        told = CommandError(f"{stage} failed{f' in {where}' if where else ''}; see its output above")
        told.status = TRY_AGAIN if error.status == TRY_AGAIN else 1
        raise told from None
