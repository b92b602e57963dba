"""A Prefect flow run inside the command's own process: quiet, a failed stage reported in one sentence."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.commands.errors import CommandError
from pipeline.errors import TRY_AGAIN, NotNow


class PrefectSilent(NotNow):
    """The Prefect server does not answer."""


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


def check_prefect(page: bool = False) -> None:
    """Ask the Prefect server of PREFECT_API_URL for a sign of life; without one a flow has a server of its own.

    Args:
        page: a server with a page that people look at is needed.

    Raises:
        PrefectSilent: it gives none.
        CommandError: there is no address of a server, and a page is needed.
    """
    from prefect.settings import get_current_settings

    from pipeline.reachable import shown, silence

    url = os.environ.get("PREFECT_API_URL") or get_current_settings().api.url
    if not url:
        if page:
            raise CommandError(
                "--ask needs a Prefect server that shows the question: set PREFECT_API_URL (`dreamtrace up` starts one)"
            )
        return
    if (reason := silence(f"{url.rstrip('/')}/health")) is not None:
        raise PrefectSilent(
            f"the Prefect server at PREFECT_API_URL={shown(url)} does not answer: {reason}; start it with "
            "`dreamtrace up`, or unset PREFECT_API_URL, then run the same command again"
        )


def check_servers(workspace: Path, page: bool = False) -> None:
    """Ask all servers that a flow needs for a sign of life, before it begins; `page` as for `check_prefect`.

    Raises:
        StoreSilent, PrefectSilent: one gives none.
        CommandError: there is no address of a Prefect server, and a page is needed.
    """
    from pipeline.registry.store import check_answers

    check_answers(workspace)
    check_prefect(page)


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
