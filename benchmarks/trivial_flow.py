"""The least that a flow can do, for `benchmarks.orchestration queue`: write down that it ran."""

import os
import sys
from pathlib import Path

from prefect import flow


@flow(name="trivial", log_prints=False)
def trivial(number: int, log: str) -> None:
    """Append a line in one write, so that two runs never mix theirs."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(handle, f"{number}\n".encode())
    os.close(handle)


def deploy() -> None:
    """A work pool and a deployment of this file."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate

    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="trivial", type="process"))
    here = Path(__file__).resolve()
    loaded = flow.from_source(source=str(here.parents[1]), entrypoint="benchmarks/trivial_flow.py:trivial")
    loaded.deploy(name="trivial", work_pool_name="trivial", print_next_steps=False)


if __name__ == "__main__" and sys.argv[1:] == ["deploy"]:
    deploy()
