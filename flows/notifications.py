"""Told when it matters: a webhook that Prefect's server calls when a run of a deployment ends or waits for a person.

Not told is a `retrain` that found no new photos, and ends as "Unchanged".
"""

from uuid import UUID

from prefect.automations import Automation
from prefect.blocks.webhook import Webhook
from prefect.events.actions import CallWebhook
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.types import SecretDict
from pydantic import SecretStr

BLOCK = "dreamtrace-notify"  # keeps the address, which may be a secret
AUTOMATION = "dreamtrace: tell when a run ends, fails or waits"
TOLD = ("Completed", "Failed", "Crashed", "Cancelled", "Paused", "Suspended", "NotPromoted")  # an end, or a question
# Of runs that a deployment started: the flows that these call belong to none, and would tell the same once more.
ROOT: dict[str, str | list[str]] = {"prefect.resource.role": "deployment"}
REFUSED = "Flow run encountered an exception: Refused: "  # Prefect's words for what is an answer, and no fault
# JSON with one text, as Slack, Mattermost and the like take it.
TEXT = (
    "{% set said = flow_run.state.message or '' %}{% set refused = said.startswith('" + REFUSED + "') %}"
    "{{ (flow.name ~ ' ' ~ flow_run.name ~ ': ' ~ ('NotPromoted' if refused else flow_run.state.name) ~ '. ' ~ "
    "(said.removeprefix('" + REFUSED + "') or "
    "('A person is asked, on the page of the run.' if flow_run.state.name in ('Paused', 'Suspended') else '')) ~ ' ' ~ "
    "(flow_run|ui_url or '')) | tojson }}"
)
PAYLOAD = '{"text": ' + TEXT + "}"


def ensure_notification(url: str) -> bool:
    """Call `url` from now on, or nothing where it is empty; True where that is a change."""
    there = _there()
    if not url:
        if there is None or not there.enabled:
            return False
        there.disable()
        return True
    block = Webhook(url=SecretStr(url), headers=SecretDict({"Content-Type": "application/json"}))
    saved = UUID(str(block.save(BLOCK, overwrite=True)))
    wanted = Automation(
        name=AUTOMATION,
        description="Set by `dreamtrace up --notify`; without it the next `dreamtrace up` switches this off.",
        trigger=EventTrigger(
            expect={f"prefect.flow-run.{state}" for state in TOLD},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            match_related=ResourceSpecification(ROOT),
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=[CallWebhook(block_document_id=saved, payload=PAYLOAD)],
    )
    if there is None:
        wanted.create()
        return True
    wanted.id = there.id
    wanted.update()
    return not there.enabled


def _there() -> Automation | None:
    try:
        return Automation.read(name=AUTOMATION)  # type: ignore[return-value]
    except ValueError:
        return None
