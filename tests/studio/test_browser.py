"""The studio in a browser, on a wide screen and on a phone: by mouse, by keyboard, and without a word to elsewhere."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from PIL import Image

from pipeline.params import load_params
from pipeline.registry.blind_choices import read_choices
from pipeline.registry.store import connect
from pipeline.studio import workplace
from pipeline.studio.application import make_studio
from tests import tiny
from tests.flows.team import free_port
from tests.workspace import make_workspace

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((path for name in BROWSERS if (path := shutil.which(name))), None)
PATIENCE_MS = 120_000  # of a busy machine, for each thing that a page does
HERE = ("http://127.0.0.1:", "data:")
PASSWORD = "twelve-letters-or-more"
PAGES = ("photos", "masks?name=photo0.jpg", "runs", "pictures", "verdict", "blind", "models", "models/clean", "check")
JUDGED = ("pictures", "verdict", "blind", "models", "models/mysks/1", "steps/mysks/1")
BAD = ("error", "warning")  # lines of the console
AWAY = "the server responded with a status of 503"  # which no page of the studio has, but for the test that brings it
GRAVE = ("serious", "critical")  # axe's impacts

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (on Debian: apt install chromium)"),
]


@contextmanager
def served(workspace: Path) -> Iterator[str]:
    """The address of a studio while it is served from a thread."""
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


@pytest.fixture
def studio(project: Callable[..., Path]) -> Iterator[str]:
    """The address of a studio whose workspace holds photos and no model."""
    workspace = project(photos=5)
    (workspace / "dvc.yaml").touch()
    with served(workspace) as address:
        yield address


@pytest.fixture
def judged_studio(copy: Path) -> Iterator[str]:
    """The address of a studio whose model was judged."""
    with served(copy) as address:
        yield address


@pytest.fixture(params=[1200, 390])
def page(request: pytest.FixtureRequest):
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
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda line: wrong.append(line.text) if line.type in BAD and AWAY not in line.text else None)
        page.on("request", lambda sent: wrong.append(sent.url) if not sent.url.startswith(HERE) else None)
        yield page
        browser.close()
    assert wrong == []


def look(page, name: str) -> None:
    """A page fits the screen, names its fields and pictures, and axe finds no serious fault."""
    from axe_playwright_python.sync_playwright import Axe

    width = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert width[0] == width[1], name
    unnamed = page.evaluate(
        "[...document.querySelectorAll('input:not([type=hidden]), select, textarea')]"
        ".filter(field => !field.labels.length).length"
    )
    assert unnamed == 0, name
    assert page.evaluate("[...document.images].every(image => image.alt)"), name
    found = Axe().run(page).response["violations"]
    assert [(fault["id"], fault["nodes"][0]["html"]) for fault in found if fault["impact"] in GRAVE] == [], name


def test_every_page_fits_and_complains_of_nothing(studio: str, page) -> None:
    for name in PAGES:
        page.goto(f"{studio}/{name}")
        look(page, name)


def test_every_page_of_a_judged_model_fits_and_complains_of_nothing(judged_studio: str, page) -> None:
    for name in JUDGED:
        page.goto(f"{judged_studio}/{name}")
        look(page, name)
    page.goto(f"{judged_studio}/pictures")
    page.get_by_role("link", name="Where the picture").first.click()
    page.get_by_role("heading", name="Where this picture comes from").wait_for()
    look(page, "back")


def test_the_weights_of_a_version_are_deleted_by_mouse(judged_studio: str, page, copy: Path) -> None:
    connect(copy).delete_registered_model_alias("mysks", "challenger")
    page.goto(f"{judged_studio}/models/clean")
    page.get_by_label("mysks version 1").check()
    look(page, "clean up, with a version that nobody uses")
    page.get_by_role("button", name="What would go?").click()
    page.get_by_text("the weights of mysks version 1").wait_for()
    look(page, "what a deletion would remove")
    page.get_by_label("Your name").fill("Eve")
    page.get_by_label("Reason").fill("a try-out")
    page.get_by_label("I am sure").check()
    page.get_by_role("button", name="Delete the weights").click()
    page.get_by_text("are free").wait_for()
    page.get_by_role("link", name="version 1").click()
    page.get_by_text("weights deleted by Eve").wait_for()
    look(page, "a deleted version")


def test_pairs_are_chosen_by_keyboard_and_the_verdict_shows_it(judged_studio: str, page, copy: Path) -> None:
    page.goto(f"{judged_studio}/blind")
    page.get_by_label("Your name").fill("Eve")
    page.keyboard.press("Enter")
    for key in ("ArrowLeft", "ArrowRight", "0"):
        page.get_by_text("Which one would you rather have?").wait_for()
        look(page, "pair")
        with page.expect_navigation():
            page.keyboard.press(key)
    choices, _ = read_choices(copy, "models:/mysks/1")
    right = {"version": "against", "against": "version"}
    assert [one.chosen for one in choices] == [choices[0].left, right[choices[1].left], "none"]
    page.goto(f"{judged_studio}/verdict")
    page.get_by_text("3 blind choices between it and the base").wait_for()
    look(page, "verdict")


def test_the_slider_moves_by_keyboard(judged_studio: str, page) -> None:
    page.goto(f"{judged_studio}/pictures")
    page.locator("summary", has_text="Slide between").first.click()
    page.get_by_label("Share of base that is shown").first.focus()
    share = "getComputedStyle(document.querySelector('.layers img + img')).clipPath"
    assert page.evaluate(share) == "inset(0px 0px 0px 50%)"
    page.keyboard.press("End")
    assert page.evaluate(share) == "inset(0px 0px 0px 100%)"
    look(page, "slider")


def test_a_mask_is_painted_erased_reset_and_saved(studio: str, page, tmp_path: Path) -> None:
    page.goto(f"{studio}/masks?name=photo0.jpg")  # 80 x 64 pixels
    box = page.locator("canvas").bounding_box()

    def draw(*places: tuple[float, float]) -> None:
        for number, (x, y) in enumerate(places):
            page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=4)
            if number == 0:
                page.mouse.down()
        page.mouse.up()

    page.get_by_label("Size of the brush").fill("20")  # a radius of 8 pixels
    draw((0.1, 0.9), (0.9, 0.9))
    page.get_by_role("button", name="Reset").click()
    draw((0.25, 0.5), (0.75, 0.5))
    page.get_by_label("Erase").check()
    draw((0.75, 0.2), (0.75, 0.8))
    page.get_by_role("radio", name="Paint").check()
    page.locator("canvas").focus()
    page.keyboard.press("Space")  # the middle, which is painted already
    look(page, "mask")
    page.get_by_label("Your name").fill("Eve")
    page.get_by_role("button", name="Save the mask").click()
    page.get_by_text("photo0.jpg has a mask by Eve").wait_for()
    made = np.asarray(Image.open(tmp_path / "data/masks/photo0.jpg.png")) > 127
    assert made.shape == (64, 80)
    assert made[32, 20] and made[32, 40] and not made[32, 60]  # painted, painted, erased
    assert not made[58, 40]  # of the stroke before the reset
    page.goto(f"{studio}/masks?name=photo0.jpg")
    page.get_by_label("Your name").fill("Eve")
    page.wait_for_function("document.getElementById('mask').getContext('2d').getImageData(20, 32, 1, 1).data[3] > 0")
    page.get_by_role("button", name="Save the mask").click()  # nothing painted: the mask that was there
    page.get_by_text("the one before is kept").wait_for()
    assert np.array_equal(np.asarray(Image.open(tmp_path / "data/masks/photo0.jpg.png")) > 127, made)


def test_dropped_files_are_chosen_wherever_they_fall_on_the_form(studio: str, page, tmp_path: Path) -> None:
    page.goto(f"{studio}/photos")
    drop = """() => {
        const canvas = document.createElement("canvas");
        canvas.width = canvas.height = 64;
        canvas.getContext("2d").fillRect(9, 9, 30, 30);
        return new Promise(done => canvas.toBlob(blob => {
            const list = new DataTransfer();
            list.items.add(new File([blob], "IMG_77.png", {type: "image/png"}));
            document.querySelector("form[action='/photos/add'] label")
                .dispatchEvent(new DragEvent("drop", {dataTransfer: list, bubbles: true, cancelable: true}));
            done();
        }));
    }"""
    page.evaluate(drop)
    page.get_by_role("button", name="Add", exact=True).click()
    page.get_by_text("1 photo was added: IMG_77.png").wait_for()
    assert (tmp_path / "data/IMG_77.png").is_file()


def test_fifteen_unnamed_photos_become_a_running_training_by_mouse_alone(page, values, tmp_path: Path) -> None:
    """Nothing is typed: the token is suggested, the class is chosen, and the training really runs."""
    values["train"] |= {"steps": 5000, "log_every": 1, "checkpoint_every": 1000, "validate_every": 0, "save_every": 0}
    values["prior"] |= {"images": 0}
    values["preview"] |= {"every": 0}
    workspace = make_workspace(tmp_path / "w", values)
    album = tmp_path / "album"
    album.mkdir()
    for index in range(15):
        tiny.picture(60 + index).save(album / f"IMG_{index}.png")
    with served(workspace) as address:
        page.goto(address)
        with page.expect_file_chooser() as asked:
            page.get_by_label("Its photos").click()
        asked.value.set_files(sorted(album.iterdir()))
        page.get_by_label("Class: what kind").select_option("plush toy")
        page.get_by_role("button", name="Begin").click()
        page.get_by_text("photos and parameters are in place").wait_for()
        page.get_by_role("link", name="Runs").click()
        page.get_by_role("button", name="Start").click()
        page.get_by_text("of 5000 of the training").wait_for(timeout=480_000)
        look(page, "a running training")
        page.get_by_role("button", name="Stop").click()
        page.get_by_text("the run was stopped").wait_for()
        page.get_by_role("button", name="Go on").wait_for()


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
    page.get_by_label("Or the class in your own words").fill("owl")
    page.keyboard.press("Enter")
    page.get_by_text("photos and parameters are in place").wait_for()
    params = load_params(tmp_path / "params.yaml")
    assert (params.subject.token, params.prepare.heldout) == ("gtwlb", 1)
    page.get_by_label("Caption").first.fill("my owl on a shelf")
    page.get_by_role("button", name="Save captions").first.click()
    page.get_by_text("used: “gtwlb owl on a shelf”").wait_for()
    page.get_by_role("link", name="Runs").click()
    page.get_by_role("button", name="Start").click()
    page.get_by_text("training has begun").wait_for()  # the page looks again by itself
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("start it again to go on").wait_for()


def test_a_form_is_sent_once_however_often_its_button_is_pressed(studio: str, page) -> None:
    held: list = []
    twice = "button => { button.click(); setTimeout(() => button.click(), 300); }"
    page.route("**/photos/held-out", lambda route: held.append(route))  # noqa: PLW0108
    for time_of in (1, 2):  # the second one after the way back
        page.goto(f"{studio}/photos") if time_of == 1 else page.go_back()
        page.get_by_label("Photos held out of training").fill("2")
        page.get_by_role("button", name="Set").evaluate(twice)
        page.wait_for_timeout(1500)
        assert len(held) == time_of
        held[-1].continue_()
        page.get_by_text("2 photos are held out").wait_for()


def test_a_page_that_waits_goes_on_looking_after_an_error(studio: str, page, monkeypatch) -> None:
    wait = "import time\nprint('it has begun', flush=True)\ntime.sleep(600)"
    monkeypatch.setattr(workplace, "program", lambda *_: [workplace.sys.executable, "-c", wait])
    page.goto(f"{studio}/runs")
    page.get_by_role("button", name="Start").click()
    page.get_by_role("button", name="Stop").wait_for()
    with page.expect_response(lambda answer: answer.status == 503):
        page.route(
            "**/runs", lambda route: route.fulfill(status=503, body="<main>busy</main>", content_type="text/html")
        )
    page.unroute("**/runs")
    Path(".dreamtrace/studio/here.log").write_text("and it goes on")
    page.get_by_text("and it goes on").wait_for()
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("start it again to go on").wait_for()
