"""What people see: a browser starts a run by its form, watches it, opens what came out, and approves a promotion."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.files import read_json, write_json
from pipeline.layout import EVALUATION, PARAMS, REGISTRATION
from pipeline.params import load_params
from pipeline.registry.aliases import champion_of
from pipeline.registry.promotion_history import history
from pipeline.registry.store import connect
from pipeline.servers.workers import Worker
from tests.evaluation.figures import passing
from tests.flows.team import Team, end, free_port, make_team, mlflow_server, until
from tests.workspace import dvc, tiny_values

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((path for name in BROWSERS if (path := shutil.which(name))), None)

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (on Debian: apt install chromium)"),
]


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    server = mlflow_server(tmp_path_factory.mktemp("mlflow"), port)
    yield f"http://127.0.0.1:{port}"
    end(server)


@pytest.fixture(scope="module")
def team(tiny_base: Path, tiny_scorer: Path, mlflow: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("pages")
    values = tiny_values(tiny_base, tiny_scorer)
    values["sample"]["suite"] = "pocket"  # enough prompts for a promotion
    team = Team(folder, make_team(folder, values), {"MLFLOW_TRACKING_URI": mlflow})
    try:
        team.deploy([Worker("cpu", "cpu", 8).slot])
        with team.worker():
            yield team
    finally:
        team.close()


@pytest.fixture(scope="module")
def page(team: Team):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 1400})
        page.set_default_timeout(30_000)
        yield page
        browser.close()


def fit_version(team: Team) -> str:
    """The reference of a version that may be promoted: random weights pass no gate, so that its figures are made up."""
    dvc(team.source, "repro", "-q")
    path = team.source / EVALUATION
    evaluation = passing(read_json(path), load_params(team.source / PARAMS).gates)
    path.unlink()  # DVC's files are links into its cache
    write_json(path, evaluation)
    dvc(team.source, "commit", "-q", "-f", "evaluate")
    dvc(team.source, "repro", "-q")
    made = read_json(team.source / REGISTRATION)
    return f"models:/{made['model']}/{made['version']}"


@pytest.fixture(scope="module")
def finished(team: Team, page):
    """A run that was started by its form, and is over."""
    home = team.api.removesuffix("/api")
    page.goto(f"{home}/deployments")
    page.get_by_text("fine-tune", exact=True).first.click()
    found = team.client.read_deployment_by_name("fine-tune-isolated/fine-tune")
    page.goto(f"{home}/deployments/deployment/{found.id}/run")
    page.get_by_text("another subject than the committed one").first.wait_for()
    page.locator("textarea.p-code-input__textarea").first.fill(
        '{"train.steps": 200, "train.log_every": 1, "train.checkpoint_every": 50, "preview.every": 100}'
    )
    field = page.get_by_text("of the run, its workspace and its experiment; empty: made up.")
    field.locator("xpath=following::textarea[1]").fill("by-hand")
    page.get_by_role("button", name="Submit").click()
    runs = until(team.client.read_flow_runs, 30, "the run that the form asked for")
    (run,) = runs
    assert run.parameters["overrides"]["train.steps"] == 200
    page.goto(f"{home}/runs/flow-run/{run.id}")
    page.get_by_text("Running", exact=True).first.wait_for(timeout=60_000)
    page.get_by_text("workspace ", exact=False).first.wait_for(timeout=60_000)
    team.wait(run, "Completed")
    return run


def test_a_run_is_started_by_its_form_and_its_artifacts_are_there(team: Team, page, finished) -> None:
    home = team.api.removesuffix("/api")
    page.goto(f"{home}/runs/flow-run/{finished.id}")
    page.get_by_text("Completed", exact=True).first.wait_for()
    page.get_by_role("tab", name="Artifacts").or_(page.get_by_text("Artifacts", exact=True)).first.click()
    for key in ("parameters", "gates", "pictures", "fine-tune", "mlflow-run", "report"):
        page.get_by_text(key, exact=True).first.wait_for()
    page.get_by_text("fine-tune", exact=True).last.click()
    page.get_by_text("mysks version 1 (challenger)").first.wait_for()
    made = {artifact.key: artifact.id for artifact in team.client.read_artifacts()}
    page.goto(f"{home}/artifacts/artifact/{made['pictures']}")
    picture = page.locator("img[src^='data:image/jpeg']").first
    picture.wait_for()
    assert picture.evaluate("image => image.naturalWidth") > 300
    page.goto(f"{home}/artifacts/artifact/{made['gates']}")
    page.get_by_text("at most 0.1").first.wait_for()


def test_mlflow_shows_curves_pictures_and_the_version(team: Team, page, finished, mlflow: str, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow)
    version = connect(team.source).get_model_version("mysks", "1")
    run = connect(team.source).get_run(version.run_id)
    page.goto(f"{mlflow}/#/experiments/{run.info.experiment_id}/runs/{version.run_id}/model-metrics")
    page.get_by_placeholder("Search metric charts").fill("smooth_loss")
    page.get_by_text("smooth_loss").first.wait_for()
    page.locator(".js-plotly-plot, canvas, svg.main-svg").first.wait_for()
    page.goto(f"{mlflow}/#/experiments/{run.info.experiment_id}/runs/{version.run_id}/artifacts")
    page.get_by_text("report").first.wait_for()
    page.goto(f"{mlflow}/#/models/mysks/versions/1")
    page.get_by_text("challenger").first.wait_for()
    page.get_by_text("content_digest").first.wait_for()
    points = connect(team.source).get_metric_history(version.run_id, "loss")
    assert len(points) == len({point.step for point in points}) == 200


def test_a_promotion_waits_for_a_person_and_goes_on(team: Team, page, finished, mlflow: str, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow)
    home = team.api.removesuffix("/api")
    refused = team.run("promote/promote", ref="models:/mysks/1", by="ann", allow_unclean=True)
    with pytest.raises(AssertionError, match=r"(?s)is Failed.*the gates: Not to be promoted"):
        team.wait(refused, "Paused", 120)
    ref = fit_version(team)
    run = team.run("promote/promote", ref=ref, by="ann", allow_unclean=True)
    team.wait(run, "Paused", 120)
    page.goto(f"{home}/runs/flow-run/{run.id}")
    page.get_by_role("button", name="Resume").click()
    page.get_by_text("There are no objections.").first.wait_for()
    page.get_by_role("dialog").get_by_text("make it the champion?").first.wait_for()
    page.get_by_role("dialog").get_by_role("switch").first.click()
    words = page.get_by_role("dialog").locator("textarea")
    words.first.fill("Ann")
    words.last.fill("looks right")
    page.get_by_role("dialog").get_by_role("button", name="Submit").click()
    team.wait(run, "Completed", 120)
    client, version = connect(team.source), ref.rpartition("/")[2]
    assert champion_of(client, "mysks") == version
    (moved,) = history(client, "mysks")
    assert (moved["by"], moved["approved_by"], moved["why"]) == ("ann", "Ann", "looks right")
