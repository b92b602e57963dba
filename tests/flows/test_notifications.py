"""The webhook of `dreamtrace up --notify`: called by a real server, on the loopback interface."""

import json
import queue
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect import Flow, flow
from prefect.automations import Automation
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from prefect.server.events.jinja_filters import all_filters
from prefect.server.schemas.core import Flow as ServerFlow
from prefect.server.schemas.core import FlowRun
from prefect.server.schemas.states import State
from prefect.server.utilities.user_templates import register_user_template_filters, render_user_template_sync
from prefect.settings import PREFECT_UI_URL, temporary_settings

from flows.notifications import AUTOMATION, PAYLOAD, REFUSED, ensure_notification
from pipeline.registry.examination import Refused
from pipeline.servers.start_commands import page_environment
from pipeline.servers.up import Ports, UpError, run_up
from tests.flows.team import free_port


@pytest.fixture
def hook() -> Iterator[tuple[str, "queue.Queue[str]"]]:
    """The address of a webhook, and the texts that it was sent."""
    told: queue.Queue[str] = queue.Queue()

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hook", told
    server.shutdown()


def deploy_and_run(job: Flow[..., Any], name: str) -> None:
    """Run a flow as a worker does that a deployment gave it to."""
    with get_client(sync_client=True) as client:
        deployment = client.create_deployment(flow_id=client.create_flow(job), name="there")
        run = client.create_flow_run_from_deployment(deployment, parameters={"name": name})
    run_flow(job, flow_run=run, parameters={"name": name}, return_type="state")


def test_each_run_that_ends_is_told_once_and_a_refusal_as_an_answer(prefect, hook) -> None:
    address, told = hook

    @flow(name="promote", flow_run_name="{name}")
    def ask(name: str) -> None:
        raise Refused("m version 1 is not promoted:\n  the gates")

    @flow(name="fine-tune-isolated", flow_run_name="{name}")
    def tune(name: str) -> None:
        with suppress(Refused):
            ask("of its own")  # a flow that is called tells nothing
        if name == "bad":
            raise ValueError('stage "prepare" failed:\nphotos')

    assert ensure_notification(address) is True
    assert ensure_notification(address) is False
    deploy_and_run(tune, "good")
    assert told.get(timeout=60).startswith("fine-tune-isolated good: Completed.")
    deploy_and_run(ask, "no")
    assert told.get(timeout=60).startswith("promote no: NotPromoted. m version 1 is not promoted:\n  the gates ")
    deploy_and_run(tune, "bad")
    text = told.get(timeout=60)
    assert text.startswith("fine-tune-isolated bad: Failed.") and 'stage "prepare" failed' in text
    assert told.empty()
    assert ensure_notification("") is True
    assert Automation.read(name=AUTOMATION).enabled is False
    assert ensure_notification("") is False


def test_an_address_that_is_none_is_refused_before_anything_starts(tmp_path: Path) -> None:
    for name in ("dvc.yaml", "prefect.yaml", "params.yaml", ".git"):
        (tmp_path / name).touch()
    with pytest.raises(UpError, match="--notify wants an address"):
        run_up(tmp_path, Ports(free_port(), free_port(), free_port()), True, "hooks.example.com")
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.parametrize(
    ("state", "message", "told"),
    [
        ("Paused", None, "promote m: Paused. A person is asked, on the page of the run. {page}"),
        ("Failed", 'stage "prepare"', 'promote m: Failed. stage "prepare" {page}'),
        ("Completed", None, "promote m: Completed.  {page}"),
        ("Failed", f"{REFUSED}m is not promoted", "promote m: NotPromoted. m is not promoted {page}"),
    ],
)
def test_a_question_and_an_end_are_told_with_the_page_of_the_run(state: str, message: str | None, told: str) -> None:
    """Rendered by Prefect's own templates, with the address of the page that `up` gives the server."""
    register_user_template_filters(all_filters)
    run = FlowRun(id=uuid4(), name="m", flow_id=uuid4(), state=State(type=state.upper(), name=state, message=message))
    with temporary_settings({PREFECT_UI_URL: page_environment(4200)["PREFECT_UI_URL"]}):
        made = render_user_template_sync(PAYLOAD, {"flow": ServerFlow(name="promote"), "flow_run": run})
    assert json.loads(made)["text"] == told.format(page=f"http://127.0.0.1:4200/runs/flow-run/{run.id}")
