"""Masks painted, uploaded, proposed: checked by the server, and nothing that was there is lost."""

import io
import json
import re
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.layout import PROPOSALS
from pipeline.studio import workplace
from tests import tiny
from tests.studio.browser import Browser


def mask(size: tuple[int, int], box: tuple[int, int, int, int]) -> bytes:
    picture, target = Image.new("L", size, 0), io.BytesIO()
    picture.paste(255, box)
    picture.save(target, "PNG")
    return target.getvalue()


def save(browser: Browser, content: bytes, name: str = "photo0.jpg", **changed: str):
    page = browser.get(f"/masks?name={name}")
    before = re.search(r'name="before" value="([^"]*)"', page)
    assert before
    form = {"name": name, "by": "Eve", "before": before[1], **changed}
    return browser.send("/masks/save", form, [("mask", ("mask.png", content, "image/png"))])


def test_a_painted_mask_is_kept_in_the_workspaces_own_format_and_the_one_before_too(browser: Browser) -> None:
    first, second = mask((80, 64), (10, 10, 50, 50)), mask((80, 64), (0, 0, 40, 64))
    assert "photo0.jpg has a mask by Eve" in save(browser, first).text
    kept = Path("data/masks/photo0.jpg.png")
    with Image.open(kept) as picture:
        assert picture.info["Author"] == "painted by Eve"
        assert np.array_equal(np.asarray(picture), np.asarray(Image.open(io.BytesIO(first))))
    page = browser.get("/photos")
    assert "A run would stop" not in page and "subject's share 39 %" in page and "Change the mask" in page
    bytes_before = kept.read_bytes()
    assert "the one before is kept as .dreamtrace/left-out/masks/" in save(browser, second).text
    (aside,) = Path(".dreamtrace/left-out/masks").iterdir()
    assert aside.read_bytes() == bytes_before and kept.read_bytes() != bytes_before
    shown = Image.open(io.BytesIO(browser.client.get("/masks/now?name=photo0.jpg").content))
    assert shown.mode == "RGBA" and np.array_equal(np.asarray(shown)[..., 3], np.asarray(Image.open(kept)))


def test_a_large_photo_is_painted_on_a_smaller_canvas(browser: Browser) -> None:
    tiny.picture(9, 3000, 1500).save("data/photo0.jpg")
    canvas = Image.open(io.BytesIO(browser.client.get("/masks/photo?name=photo0.jpg").content))
    assert canvas.size == (1024, 512)
    assert "has a mask" in save(browser, mask(canvas.size, (0, 0, 512, 512))).text
    made = np.asarray(Image.open("data/masks/photo0.jpg.png"))
    assert made.shape == (1500, 3000) and set(np.unique(made)) == {0, 255}
    assert abs(made.mean() / 255 - 0.5) < 0.002
    assert "A run would stop" not in browser.get("/photos")


def test_what_is_no_mask_of_this_photo_is_refused_and_changes_nothing(browser: Browser) -> None:
    good = mask((80, 64), (10, 10, 50, 50))
    save(browser, good)
    there = Path("data/masks/photo0.jpg.png").read_bytes()
    for content, words in (
        (mask((64, 80), (0, 0, 9, 9)), "is 64x80 pixels, photo0.jpg is 80x64"),
        (mask((80, 64), (0, 0, 0, 0)), "shows no subject"),
        (b"x", "the mask is not"),
        (b"", "the mask"),
    ):
        answer = save(browser, content)
        assert answer.status_code == 400 and words in answer.text, words
    assert save(browser, good, before="0" * 64).status_code == 400  # somebody else saved one meanwhile
    assert save(browser, good, by="").status_code == 400
    assert browser.send("/masks/remove", {"name": "photo0.jpg", "before": ""}).status_code == 400
    assert Path("data/masks/photo0.jpg.png").read_bytes() == there
    for name in ("../params.yaml", "nothing.jpg", ""):
        assert browser.client.get(f"/masks?name={name}").status_code == 400
        assert browser.client.get(f"/masks/photo?name={name}").status_code == 400
    before = re.search(r'name="before" value="([^"]+)"', browser.get("/masks?name=photo0.jpg"))
    assert before
    said = browser.send("/masks/remove", {"name": "photo0.jpg", "before": before[1]}).text
    assert "is kept as .dreamtrace/left-out/masks/" in said and not Path("data/masks/photo0.jpg.png").exists()
    assert browser.client.get("/masks/now?name=photo0.jpg").status_code == 400


def test_proposals_are_shown_corrected_and_accepted_by_somebody(browser: Browser) -> None:
    folder = PROPOSALS / "masks"
    folder.mkdir(parents=True)
    for number in (0, 1):
        (folder / f"photo{number}.jpg.png").write_bytes(mask((80, 64), (10, 10, 50, 50)))
    (PROPOSALS / "captions.jsonl").write_text(json.dumps({"file_name": "photo9.jpg", "text": "x", "by": "y"}) + "\n")
    page = browser.get("/photos")
    assert page.count('name="photo" value="') == 2 and "The proposed mask of photo1.jpg" in page
    assert "was proposed by a program" in browser.get("/masks?name=photo1.jpg")
    assert browser.send("/masks/accept", {"by": "Eve"}).status_code == 400
    assert browser.send("/masks/accept", {"photo": "photo0.jpg"}).status_code == 400
    said = browser.send("/masks/accept", {"by": "Eve", "photo": ["photo0.jpg", "photo9.jpg"]}).text
    assert "taken over: 0 captions and 1 mask" in said and "photo9.jpg: is no longer among the photos" in said
    with Image.open("data/masks/photo0.jpg.png") as picture:
        assert picture.info["Author"].endswith("approved by Eve")
    assert not Path("data/masks/photo1.jpg.png").exists()


def test_a_program_is_asked_for_proposals_and_its_complaint_is_shown(browser: Browser, monkeypatch) -> None:
    asked: list[tuple[str, ...]] = []

    def program(*arguments: str) -> list[str]:
        asked.append(arguments)
        return [workplace.sys.executable, "-c", "print('error: no such network'); raise SystemExit(1)"]

    monkeypatch.setattr(workplace, "program", program)
    assert browser.send("/masks/propose", {"kind": "everything"}).status_code == 400
    assert "masks are being proposed" in browser.send("/masks/propose", {"kind": "masks"}).text
    browser.app.state.place._runs["propose"].process.wait(30)
    assert asked == [("propose", "masks")] and "no such network" in browser.get("/photos")
