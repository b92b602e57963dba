"""What a Prefect server needs before deployments run: work pools, slots, and an automation for runs that died."""

import json
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import yaml
from prefect.automations import Automation
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound

from flows.notifications import ensure_notification
from pipeline.runs.repository import OtherRepository, check_repository

NOTIFY = "DREAMTRACE_NOTIFY"  # the address to call; empty: none; not set: as it is
LISTED = "deployments"  # in prefect.yaml
POOLS = {"cpu": "fine-tuning on a CPU, promotions, comparisons", "gpu": "fine-tuning on hosts with a GPU"}
AUTOMATION = "dreamtrace: a run without a heartbeat has crashed"
SILENCE = timedelta(seconds=90)  # three heartbeats
WATCHED = {"type", "posture", "threshold", "within", "after", "state", "message"}  # what makes two automations the same
# Whatever a run says after a heartbeat, names of our own among it; nothing for SILENCE means that it died.
SIGNS = (
    *("heartbeat", "Completed", "Failed", "Crashed", "Cancelled", "Cancelling", "Paused", "Suspended"),
    *("AwaitingRetry", "Scheduled", "Retrying", "Running", "Unchanged", "NotPromoted"),
)


def set_up(slots: list[str], repository: Path, replace: bool) -> str:
    """Make what is missing, and leave what is there as people have set it; but slots, of which each lets one through.

    Raises:
        OtherRepository: there are deployments of another repository, and they are not to be replaced.
    """
    made = []
    with get_client(sync_client=True) as client:
        if not replace:
            check_owner(client, repository)
        for name, purpose in POOLS.items():
            made += [f"work pool {name}"] * _pool(client, name, purpose)
        for slot in slots:
            client.upsert_global_concurrency_limit_by_name(slot, 1)  # a device takes one stage at a time
    made += ["the automation for crashed runs"] * ensure_automation()
    if NOTIFY in os.environ:
        made += ["the notification" if os.environ[NOTIFY] else "no notification"] * ensure_notification(
            os.environ[NOTIFY]
        )
    return f"made {', '.join(made)}" if made else "all is there"


def check_owner(client: SyncPrefectClient, repository: Path) -> None:
    """Refuse to take the place of deployments that were made from a commit which this repository does not have.

    Raises:
        OtherRepository: there are some.
    """
    entrypoints = {entry["entrypoint"] for entry in yaml.safe_load((repository / "prefect.yaml").read_text())[LISTED]}
    for found in client.read_deployments():
        if found.entrypoint not in entrypoints:
            continue
        try:
            check_repository(repository, found.version)
        except OtherRepository:
            raise OtherRepository(
                f"the deployment {found.name} on this server is of commit {found.version}, which this repository does "
                "not have: give each repository a Prefect server of its own (PREFECT_API_URL), or take its place with "
                "`dreamtrace deploy --replace`"
            ) from None


def _pool(client: SyncPrefectClient, name: str, purpose: str) -> bool:
    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        client.create_work_pool(WorkPoolCreate(name=name, type="process", description=purpose))
        return True
    return False


def ensure_automation(silence: timedelta = SILENCE) -> bool:
    """Mark runs as crashed whose heartbeat stopped; True where the automation was not there."""
    events = {f"prefect.flow-run.{sign}" for sign in SIGNS}
    wanted = Automation(
        name=AUTOMATION,
        description="Retry the run to resume from its last checkpoint.",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect=events,
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=silence,
        ),
        actions=[
            ChangeFlowRunState(
                name=None,
                state=StateType.CRASHED,
                message="its heartbeat stopped; retry resumes",
                force=False,
            )
        ],
    )
    try:
        there = cast(Automation, Automation.read(name=AUTOMATION))
    except ValueError:
        wanted.create()
        return True
    if _rules(there) != _rules(wanted):  # an update forgets which runs were being watched
        wanted.id, wanted.enabled = there.id, there.enabled
        wanted.update()
    return False


def _rules(automation: Automation) -> list[Any]:
    parts = [automation.trigger, *automation.actions]
    return [
        part.model_dump(mode="json", include=WATCHED) | {"expect": sorted(getattr(part, "expect", []))}
        for part in parts
    ]


if __name__ == "__main__":
    try:
        slots = json.loads(sys.argv[1]) if len(sys.argv) > 1 else []
        print(set_up(slots, Path(), "--replace" in sys.argv[2:]))
    except OtherRepository as error:
        sys.exit(str(error))
