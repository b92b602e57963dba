"""A Prefect flow run inside the command's own process: quiet, a failed stage reported in one sentence."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.commands.errors import CommandError
from pipeline.errors import TRY_AGAIN

SETTINGS = {
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
}


def prepare_servers(workspace: Path, page: bool = False, first: Callable[[], object] | None = None) -> None:
    """What the flows of this process need: MLflow's store, Prefect's API, and Prefect's log off the terminal.

    Call it before Prefect is imported. What a stage prints goes to the terminal without Prefect, and an error that ends
    the flow is raised to the command.

    Args:
        page: a Prefect server with a page that people look at is needed.
        first: called once the servers of the environment answer, before one is started, which takes seconds: it refuses
            what needs no flow to be refused.

    Raises:
        StoreSilent, PrefectSilent: a server of the environment does not answer.
        PrefectDoesNotStart: the environment names no Prefect server, and none can be started.
        CommandError: there is no address of a Prefect server, and a page is needed.
    """
    from pipeline.registry.store import check_answers
    from pipeline.servers.prefect_for_command import provide_prefect

    check_answers(workspace)
    if page and not os.environ.get("PREFECT_API_URL"):
        raise CommandError(
            "--ask needs a Prefect server that shows the question: set PREFECT_API_URL (`dreamtrace up` starts one)"
        )
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    provide_prefect(workspace, first)


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
