"""The studio in a browser, on a wide screen and on a phone: by mouse, by keyboard, and without a word to elsewhere."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn

from pipeline.params import load_params
from pipeline.studio import workplace
from pipeline.studio.application import make_studio
from tests import tiny
from tests.flows.team import free_port

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((path for name in BROWSERS if (path := shutil.which(name))), None)
PASSWORD = "twelve-letters-or-more"
PAGES = ("photos", "runs", "pictures", "verdict", "models", "check")

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (on Debian: apt install chromium)"),
]


@pytest.fixture
def studio(project: Callable[..., Path]) -> Iterator[str]:
    """The address of a studio whose workspace holds photos and no model."""
    workspace = project(photos=5)
    (workspace / "dvc.yaml").touch()
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(make_studio(workspace, PASSWORD), host="127.0.0.1", port=port, log_level="warning")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@pytest.fixture(params=[1200, 390])
def page(request: pytest.FixtureRequest, studio: str):
    """A page that fails the test where the console complains, or a request leaves the machine."""
    from playwright.sync_api import sync_playwright

    wrong: list[str] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(
            viewport={"width": request.param, "height": 900},
            http_credentials={"username": "dreamtrace", "password": PASSWORD},
        )
        page = context.new_page()
        page.on("console", lambda line: wrong.append(line.text) if line.type in ("error", "warning") else None)
        page.on("request", lambda sent: wrong.append(sent.url) if not sent.url.startswith((studio, "data:")) else None)
        yield page
        browser.close()
    assert wrong == []


def test_every_page_fits_and_complains_of_nothing(studio: str, page) -> None:
    for name in PAGES:
        page.goto(f"{studio}/{name}")
        width = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert width[0] == width[1], name
        unnamed = page.evaluate(
            "[...document.querySelectorAll('input:not([type=hidden]), select, textarea')]"
            ".filter(field => !field.labels.length).length"
        )
        assert unnamed == 0, name
        assert page.evaluate("[...document.images].every(image => image.alt)"), name


def test_a_subject_is_begun_and_run_by_mouse_and_keyboard(studio: str, page, tmp_path: Path, monkeypatch) -> None:
    wait = "import time\nprint('training has begun', flush=True)\ntime.sleep(600)"
    monkeypatch.setattr(workplace, "program", lambda *_: [workplace.sys.executable, "-c", wait])
    album = tmp_path / "album"
    album.mkdir()
    for index in range(6):
        tiny.picture(60 + index).save(album / f"IMG_{index}.png")
    page.goto(studio)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the page"
    page.get_by_label("Its photos").set_input_files(sorted(str(path) for path in album.iterdir()))
    page.get_by_label("Token").fill("gtwlb")
    page.get_by_label("Class").fill("owl")
    page.keyboard.press("Enter")
    page.get_by_text("photos and parameters are in place").wait_for()
    params = load_params(tmp_path / "params.yaml")
    assert (params.subject.token, params.prepare.heldout) == ("gtwlb", 1)
    page.get_by_label("Caption").first.fill("my owl on a shelf")
    page.get_by_role("button", name="Save captions").first.click()
    page.get_by_text("used: “gtwlb owl on a shelf”").wait_for()
    page.get_by_role("link", name="Runs").click()
    page.get_by_role("button", name="Start").click()
    page.get_by_text("training has begun").wait_for(timeout=30_000)  # the page looks again by itself
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("start it again to go on").wait_for()
