"""What goes wrong in a fleet, done for real: a server, a worker and trainings as processes that are killed."""

import re
import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import AwaitingRetry, Cancelling

from flows.server_setup import ensure_automation
from pipeline.files import read_json
from pipeline.layout import REGISTRATION
from pipeline.registry.store import connect
from pipeline.runs.workspaces import RUNS
from pipeline.servers.workers import Worker
from tests.flows.team import Team, kill_tree, make_team, until
from tests.workspace import tiny_values

SLOT = Worker("cpu", "cpu", 8).slot

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def team(tiny_base: Path, tiny_scorer: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("fleet")
    team = Team(folder, make_team(folder, tiny_values(tiny_base, tiny_scorer)))
    try:
        team.deploy([SLOT])
        with temporary_settings({PREFECT_API_URL: team.api}):
            ensure_automation(timedelta(seconds=35))  # the one that is shipped, with less patience
        yield team
    finally:
        team.close()


def registration(team: Team, name: str) -> dict[str, str]:
    return dict(read_json(team.source / RUNS / name / REGISTRATION))


def held(team: Team) -> int:
    """Slots of the device in use."""
    return team.client.read_global_concurrency_limit_by_name(SLOT).active_slots


def retried(team: Team, run: FlowRun) -> None:
    """What the button Retry does."""
    team.client.set_flow_run_state(run.id, AwaitingRetry(message="Retry from the UI"), force=True)


def test_a_host_that_dies_is_noticed_and_a_retry_ends_in_the_same_weights(team: Team) -> None:
    run = team.fine_tune("killed")
    with team.worker() as worker:
        team.until_step("killed", 300)
        kill_tree(worker)
    until(lambda: not team.training("killed"), 60, "the training to end with those who started it")
    reached = team.steps("killed")
    assert 300 <= reached < 1500
    team.wait(run, "Crashed", 150)
    with team.worker():
        retried(team, run)
        team.wait(run, "Completed")
        straight = team.fine_tune("straight", **{"train.checkpoint_every": 60})
        team.wait(straight, "Completed")
    (resumed,) = re.findall(r"resuming from the checkpoint of step (\d+)", team.log_of(run))
    assert 250 <= int(resumed) <= reached
    first, second = registration(team, "killed"), registration(team, "straight")
    assert first["content_digest"] == second["content_digest"]
    assert first["version"] == second["version"]  # the same content is one version
    assert held(team) == 0


def test_cancelling_ends_the_training_and_frees_the_device(team: Team) -> None:
    run = team.fine_tune("cancelled", **{"train.seed": 11})
    with team.worker():
        team.until_step("cancelled", 100)
        assert held(team) == 1
        waiting = team.fine_tune("next", **{"train.seed": 12, "train.steps": 4})
        team.wait(waiting, "Running")
        team.client.set_flow_run_state(run.id, Cancelling(message="Cancelled from the UI"))
        team.wait(run, "Cancelled", 90)
        until(lambda: not team.training("cancelled"), 40, "the training to end")
        team.wait(waiting, "Completed")
    assert held(team) == 0
    assert not (team.source / RUNS / "cancelled" / REGISTRATION).exists()


def test_a_prefect_server_that_restarts_loses_no_run(team: Team) -> None:
    run = team.fine_tune("restarted", **{"train.seed": 21})
    with team.worker():
        team.until_step("restarted", 100)
        team.stop_server()
        before = team.steps("restarted")
        until(lambda: team.steps("restarted") >= before + 100, 90, "the training to go on without its server")
        team.start_server()
        team.wait(run, "Completed")
    assert held(team) == 0


def test_two_runs_of_one_subject_at_once(team: Team) -> None:
    runs = [team.fine_tune(f"twin-{seed}", **{"train.seed": seed, "train.steps": 40}) for seed in (31, 32)]
    with team.worker(), team.worker("second"):
        for run in runs:
            team.wait(run, "Completed")
    made = [registration(team, f"twin-{seed}") for seed in (31, 32)]
    assert made[0]["content_digest"] != made[1]["content_digest"]
    assert made[0]["version"] != made[1]["version"]
    client = connect(team.source)
    for one in made:
        assert client.get_model_version("mysks", one["version"]).tags["content_digest"] == one["content_digest"]


def test_a_worker_that_is_told_to_stop_leaves_no_training_behind(team: Team) -> None:
    run = team.fine_tune("stopped", **{"train.seed": 41})
    with team.worker() as worker:
        team.until_step("stopped", 100)
        worker.send_signal(signal.SIGTERM)  # Prefect's worker lets what it runs come to its end
        until(lambda: worker.poll() is not None or not team.training("stopped"), 300, "the worker or the training")
    until(lambda: not team.training("stopped"), 60, "the training to end")  # the worker, too, is ended by now
    until(lambda: team.state(run) in ("Crashed", "Cancelled", "Completed", "AwaitingRetry"), 150, "a final state")
    if team.state(run) != "Completed":
        with team.worker():
            retried(team, run)
            team.wait(run, "Completed")
    assert held(team) == 0
