"""The studio's pages as a browser gets them: what they show, what they do, and who is let in."""

import errno
import html
import io
import json
import os
import re
import sqlite3
import time
import zipfile
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from fastapi.testclient import TestClient
from markupsafe import escape
from mlflow.exceptions import MlflowException
from starlette.requests import Request

from pipeline.commands import withdraw
from pipeline.files import read_jsonl
from pipeline.layout import JOURNAL, PREVIEWS
from pipeline.lineage.deleted import DELETED, Deletion
from pipeline.lineage.tags import WITHDRAWN
from pipeline.params import Gates, load_params
from pipeline.registry.aliases import champion_of
from pipeline.registry.examination import Examined
from pipeline.registry.impact import Affected, Impact
from pipeline.registry.photo_index import Sighting, Unresolved
from pipeline.registry.promotion_history import history
from pipeline.registry.reviews import REJECTED, REVIEWS, Review, reviews_of
from pipeline.registry.store import connect
from pipeline.runs.dvc_locks import DvcBusy, only_run
from pipeline.runs.photo_desk import set_held_out
from pipeline.studio import photos_page, verdict_page, workplace
from pipeline.studio.pages import Pages, at_home
from pipeline.studio.protection import HEADERS, FormToken, Refusal
from tests import tiny
from tests.studio.browser import Browser

GOOD = Examined("mysks", "1", None, [], None, "runs:/x/report")  # nothing speaks against it
PAGES = sorted(Path(workplace.__file__).parent.glob("*_page.py"))


def jpeg(seed: int) -> bytes:
    buffer = io.BytesIO()
    tiny.picture(seed).save(buffer, "JPEG")
    return buffer.getvalue()


def photos(*seeds: int) -> list[tuple[str, tuple[str, bytes, str]]]:
    return [("files", (f"IMG_{seed}.jpg", jpeg(seed), "image/jpeg")) for seed in seeds]


def captions_form(browser: Browser) -> dict[str, list[str]]:
    """The fields of the form of captions, as the page shows them."""
    found: dict[str, list[str]] = {}
    page = browser.get("/photos")
    field = r'<input [^>]*form="captions" name="([^"]+)" value="([^"]*)"'
    area = r'<textarea [^>]*form="captions" name="([^"]+)"[^>]*>\n([^<]*)</textarea>'
    for name, value in [*re.findall(field, page), *re.findall(area, page)]:
        found.setdefault(name, []).append(html.unescape(value))
    return found


def test_a_caption_that_the_page_does_not_show_stays(browser: Browser) -> None:
    rows = read_jsonl(Path("data/metadata.jsonl"))
    (Path("data") / "photo3.jpg").write_bytes(b"damaged")
    form = captions_form(browser)
    assert "photo3.jpg" not in form["name"]
    tiny.picture(30).save("data/photo9.jpg")  # added in another tab, with a caption
    rows.append({"file_name": "photo9.jpg", "text": "a photo of mysks plush toy on a shelf"})
    Path("data/metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    form["caption"][0] = "a photo of mysks plush toy on a desk"
    assert "captions and scenes are saved" in browser.send("/photos/captions", form).text
    rows[0]["text"] = form["caption"][0]
    assert read_jsonl(Path("data/metadata.jsonl")) == rows


def test_nobody_is_let_in_without_the_password(browser: Browser) -> None:
    stranger = TestClient(browser.app, base_url="http://127.0.0.1:8100")
    for where in ("/photos", "/static/studio.css", "/nowhere"):
        answer = stranger.get(where)
        assert answer.status_code == 401 and answer.headers["www-authenticate"].startswith("Basic")
    for wrong in ("Basic x", "Bearer x", "Basic " + b64encode(b"dreamtrace:wrong").decode(), ""):
        assert stranger.get("/photos", headers={"Authorization": wrong}).status_code == 401


def test_a_foreign_name_a_foreign_form_and_an_old_form_are_refused(browser: Browser) -> None:
    assert browser.client.get("/photos", headers={"Host": "evil.example"}).status_code == 421
    form = {"csrf": browser.token(), "count": "1"}
    foreign = browser.client.post("/photos/held-out", data=form, headers={"Origin": "http://evil.example"})
    assert foreign.status_code == 403
    for data in ({"count": "1"}, {"csrf": "x", "count": "1"}):
        assert browser.client.post("/photos/held-out", data=data).status_code == 403
    names = re.findall(r'routes\.post\("([^"]+)"\)', "".join(path.read_text() for path in PAGES))
    assert len(names) >= 10  # every form, those of pages to come among them
    for name in names:
        assert browser.client.post(name, data={}).status_code == 403, name


@pytest.mark.parametrize("host", ["[::1", "[", "localhost]:8100", "[x]:8100", "", "evil.example", "@"])
def test_an_address_that_is_none_is_refused_like_a_foreign_name(browser: Browser, host: str) -> None:
    assert browser.client.get("/photos", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("word", ["ü", "\ud800", "", "x" * 10_000])
def test_a_form_with_another_word_than_the_page_s_is_refused_whatever_it_is(word: str) -> None:
    request = Request({"type": "http", "headers": [], "scheme": "http", "path": "/", "server": ("127.0.0.1", 8100)})
    with pytest.raises(Refusal, match="a studio that was stopped"):
        FormToken().check(request, word)


@pytest.mark.parametrize(
    ("where", "form", "fields"),
    [
        ("/models/withdraw", {"photo": "photo0.jpg", "name": "Eve", "reason": "asked", "sure": "yes"}, "name reason"),
        ("/models/delete", {"version": "models:/m/1", "name": "Eve", "reason": "x", "sure": "yes"}, "name reason"),
        ("/models/delete", {"version": "models:/m/1", "name": "Eve", "reason": "x", "sure": "yes"}, "version"),
        ("/pictures/draw", {"prompt": "a toy", "version": "models:/m/1", "seed": "1", "recipe": ""}, "prompt recipe"),
        (
            "/verdict/answer",
            {"version": "models:/m/1", "name": "Eve", "reason": "x", "answer": "reject"},
            "name reason",
        ),
        ("/blind/start", {"version": "models:/m/1", "name": "Eve", "against": "base"}, "name version"),
        ("/photos/leave-out", {"name": "photo0.jpg"}, "name"),
        ("/photos/held-out", {"count": "1"}, "count"),
        ("/photos/new", {"token": "gtwlb", "class_noun": "owl", "name": "x"}, "token class_noun name"),
        ("/masks/remove", {"name": "photo0.jpg", "before": ""}, "name before"),
        ("/masks/accept", {"photo": "photo0.jpg", "by": "Eve"}, "photo by"),
        ("/models/clean", {"days": "1", "where": "x", "sure": "yes"}, "where"),
        ("/runs/start", {"profile": ""}, "profile"),
    ],
)
def test_text_that_no_command_and_no_file_takes_is_refused_before_anything_happens(
    browser: Browser, monkeypatch, where: str, form: dict[str, str], fields: str
) -> None:
    for name in ("ask", "start", "start_prepared"):
        monkeypatch.setattr(workplace.Workplace, name, lambda *_: pytest.fail("something was started"))
    for field in fields.split():
        for wrong in ("a\0b", "a\x1bb", "x" * 200_000):
            answer = browser.send(where, {**form, field: wrong})
            assert answer.status_code == 400, (field, wrong[:5])
            if field not in ("version", "count"):
                said = "at most 20000 are possible" if len(wrong) > 3 else "holds the control character U+00"
                assert said in html.unescape(answer.text), field


def look(browser: Browser, page: str) -> str:
    """A page that names no address elsewhere, and has no script or style of its own."""
    answer = browser.client.get(page)
    assert answer.status_code == 200 and "default-src 'none'" in answer.headers["content-security-policy"], page
    assert answer.headers["cache-control"] == "no-store"
    assert not re.findall(r'(?:src|href|action)="(?!/(?!/)|data:|#)', answer.text), page
    assert answer.text.count("<script") == answer.text.count('<script src="/static/'), page
    assert "<style" not in answer.text and "style=" not in answer.text, page
    assert not re.search(r"<[^>]*\son[a-z]+=", answer.text), page
    return answer.text


def test_nothing_is_loaded_from_elsewhere(browser: Browser) -> None:
    for page in ("/photos", "/masks?name=photo0.jpg", "/runs", "/pictures", "/verdict", "/blind", "/models"):
        look(browser, page)


def test_nothing_is_loaded_from_elsewhere_where_a_model_was_judged(judged: Browser) -> None:
    for page in ("/pictures", "/verdict", "/blind", "/models", "/models/mysks/1", "/models/clean", "/steps/mysks/1"):
        look(judged, page)
    where = re.search(r'href="(/back/[^"]+)"', judged.get("/pictures"))
    assert where
    look(judged, where[1])


def test_words_of_people_are_shown_as_they_are_and_never_as_html(browser: Browser) -> None:
    bad = '"><script>x</script>'
    form = captions_form(browser)
    browser.send("/photos/captions", form | {"caption": [f"mysks {bad}", *form["caption"][1:]], "scene": [bad] * 6})
    page = look(browser, "/photos")
    assert "<script>" not in page and page.count(escape(f"mysks {bad}")) >= 2
    assert captions_form(browser)["scene"] == [bad] * 6
    answer = browser.send("/photos/leave-out", {"name": bad})
    assert escape(f"there is no photo {bad}") in answer.text and "<script>x" not in answer.text


def test_a_reason_is_shown_as_it_is_and_never_as_html(judged: Browser) -> None:
    answer = {"version": "models:/mysks/1", "name": "<i>Eve</i>", "reason": "<b>smudges</b>", "answer": "reject"}
    assert "<i>" not in judged.send("/verdict/answer", answer).text
    page = look(judged, "/verdict")
    assert "rejected by &lt;i&gt;Eve&lt;/i&gt;: &lt;b&gt;smudges&lt;/b&gt;" in page and "<b>" not in page
    for where in ("/models", "/models/mysks/1"):
        page = look(judged, where)
        assert "rejected by &lt;i&gt;Eve" in page and "<i>" not in page


def test_photos_show_split_problems_and_what_was_written(browser: Browser) -> None:
    page = browser.get("/photos")
    assert page.count("data:image/jpeg;base64,") == 6 and page.count('class="heldout"') == 1
    assert "photos are few" in page
    (Path("data") / "broken.jpg").write_bytes(b"x")
    page = browser.get("/photos")
    assert "A run would stop" in page and "broken.jpg: is not" in page


def test_photos_are_added_all_or_none(browser: Browser) -> None:
    answer = browser.send("/photos/add", files=photos(20, 21))
    assert "2 photos were added" in answer.text
    bad = [*photos(22), ("files", ("photo0.jpg", jpeg(23), "image/jpeg")), ("files", ("x.jpg", b"x", "image/jpeg"))]
    answer = browser.send("/photos/add", files=bad)
    assert answer.status_code == 400
    assert "photo0.jpg: there is a photo of this name" in answer.text and "x.jpg: is not" in answer.text
    assert {path.name for path in Path("data").glob("IMG_*")} == {"IMG_20.jpg", "IMG_21.jpg"}
    for name in ("../evil.jpg", ".hidden.jpg"):
        browser.send("/photos/add", files=[("files", (name, jpeg(24), "image/jpeg"))])
    assert (Path("data") / "evil.jpg").is_file()  # the folders before a name mean nothing
    assert not Path("evil.jpg").exists() and not (Path("data") / ".hidden.jpg").exists()
    assert browser.send("/photos/add").status_code == 400


def test_captions_split_and_leaving_out(browser: Browser) -> None:
    names = [f"photo{index}.jpg" for index in range(6)]
    form = captions_form(browser)
    assert form["name"] == names and form["caption"] == form["shown"] and form["scene"] == form["shown_scene"]
    form |= {"caption": ["my plush toy", *[""] * 5], "scene": ["desk", "desk", *[""] * 4]}
    assert "captions and scenes are saved" in browser.send("/photos/captions", form).text
    page = browser.get("/photos")
    assert captions_form(browser)["caption"][0] == "my plush toy" and "used: “mysks plush toy”" in page
    assert read_jsonl(Path("data/metadata.jsonl"))[0] == {
        "file_name": "photo0.jpg",
        "text": "my plush toy",
        "scene": "desk",
    }
    browser.send("/photos/held-out", {"count": "2"})
    assert load_params(Path("params.yaml")).prepare.heldout == 2
    for wrong in ("two", "9" * 5000):
        answer = browser.send("/photos/held-out", {"count": wrong})
        assert answer.status_code == 400 and "is no number of photos" in answer.text
    assert "it is kept as" in browser.send("/photos/leave-out", {"name": "photo5.jpg"}).text
    assert not (Path("data") / "photo5.jpg").exists()
    kept = sorted(path.name for path in Path(".dreamtrace/left-out").iterdir())
    assert kept == ["metadata.jsonl", "photo5.before-1.jpg"]
    assert "photo5.jpg" not in (Path("data") / "metadata.jsonl").read_text()
    shown = {key: values for key, values in form.items() if not key.startswith("shown")}
    assert browser.send("/photos/captions", shown).status_code == 400  # a page of before
    assert browser.send("/photos/leave-out", {"name": "../params.yaml"}).status_code == 400


def test_a_caption_is_one_line_however_it_was_typed_and_an_untouched_one_stays_as_it_was(browser: Browser) -> None:
    rows = read_jsonl(Path("data/metadata.jsonl"))
    rows[1]["text"] = "mysks plush toy\non a  shelf"
    Path("data/metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    form = captions_form(browser)
    form["caption"][0] = "mysks plush toy \r\n on a desk\r\n"  # as browsers send it
    assert "captions and scenes are saved" in browser.send("/photos/captions", form).text
    rows[0]["text"] = "mysks plush toy on a desk"
    assert read_jsonl(Path("data/metadata.jsonl")) == rows


def test_a_number_of_photos_is_said_in_good_english(browser: Browser) -> None:
    assert "1 photo was added: IMG_20.jpg" in browser.send("/photos/add", files=photos(20)).text
    assert "2 photos were added" in browser.send("/photos/add", files=photos(21, 22)).text
    assert "1 photo is held out" in browser.send("/photos/held-out", {"count": "1"}).text
    assert "2 photos are held out" in browser.send("/photos/held-out", {"count": "2"}).text


def test_a_workspace_in_the_home_of_its_user_is_named_from_there(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert at_home(tmp_path / "a/dreamtrace") == "~/a/dreamtrace"
    assert at_home(tmp_path) == str(tmp_path) and at_home(Path("/elsewhere")) == "/elsewhere"


def test_another_subject_begins_from_files_or_a_zip_and_the_one_before_is_kept(browser: Browser) -> None:
    said = browser.send("/photos/new", {"token": "gtwlb", "class_noun": "owl"}, photos(30, 31, 32, 33)).text
    assert "gtwlb owl: photos and parameters are in place" in said and "data.before-1" in said
    assert load_params(Path("params.yaml")).subject.token == "gtwlb"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for seed in range(40, 45):
            archive.writestr(f"bear/IMG_{seed}.jpg", jpeg(seed))
    zipped = [("files", ("bear.zip", packed.getvalue(), "application/zip"))]
    browser.send("/photos/new", {"token": "grslt", "class_noun": "bear"}, zipped)
    assert len(list(Path("data").glob("*.jpg"))) == 5 and Path("data.before-2").is_dir()
    answer = browser.send("/photos/new", {"token": "sks", "class_noun": "bear"}, photos(50))
    assert answer.status_code == 400
    assert "the name of a rifle" in answer.text and "1 photo is not enough" in answer.text


def test_a_run_is_started_watched_and_stopped(browser: Browser, monkeypatch) -> None:
    wait = "import time\nprint('training has begun', flush=True)\ntime.sleep(600)"
    monkeypatch.setattr(workplace, "program", lambda *_: [workplace.sys.executable, "-c", wait])
    tiny.picture(1).save(_folder(PREVIEWS) / "0123abcd-00000003.png")
    assert "the run has begun" in browser.send("/runs/start").text
    Path(JOURNAL).write_text('{"run": "x"}\n{"step": 3, "images_per_second": 1.0}\n')
    end = time.monotonic() + 30
    while "training has begun" not in (page := browser.get("/runs")) and time.monotonic() < end:
        time.sleep(0.1)
    assert "step 3 of 4" in page and 'http-equiv="refresh"' in page and "training has begun" in page
    assert "/previews/0123abcd-00000003.png" in page
    assert browser.client.get("/previews/0123abcd-00000003.png").headers["content-type"] == "image/png"
    assert browser.client.get("/previews/..%2f..%2fparams.yaml").status_code in (400, 404)
    assert browser.send("/runs/start").status_code == 400  # one at a time
    assert browser.send("/photos/held-out", {"count": "0"}).status_code == 400  # nothing changes under a run
    assert "start it again to go on" in browser.send("/runs/stop").text
    assert 'http-equiv="refresh"' not in browser.get("/runs")
    assert "no run of this page is at work" in browser.send("/runs/stop").text


def test_previews_are_those_of_the_training_that_drew_last(browser: Browser) -> None:
    for number, name in enumerate(("11111111-00000004", "22222222-00000003", "22222222-00000004")):
        file = _folder(PREVIEWS) / f"{name}.png"
        tiny.picture(1).save(file)
        os.utime(file, (1000 + number, 1000 + number))
    shown = re.findall(r'src="/previews/([^"]+).png"', browser.get("/runs"))
    assert shown == ["22222222-00000004", "22222222-00000003"]


def test_previews_of_other_prompts_of_the_same_training_are_not_shown_among_its_present_ones(browser: Browser) -> None:
    drawn = ("a" * 8, 3), ("b" * 8, 4), ("a" * 8, 12)
    for number, (prompts, step) in enumerate(drawn):
        file = _folder(PREVIEWS) / f"11111111-{prompts}-{step:08d}.png"
        tiny.picture(1).save(file)
        os.utime(file, (1000 + number, 1000 + number))
    page = browser.get("/runs")
    shown = re.findall(r'src="/previews/([^"]+).png"', page)
    assert shown == ["11111111-aaaaaaaa-00000012", "11111111-aaaaaaaa-00000003"]
    assert re.findall(r"<figcaption>step (\d+)", page) == ["12", "3"]
    assert browser.client.get(f"/previews/{shown[0]}.png").headers["content-type"] == "image/png"


def test_previews_stand_beside_their_prompts_where_these_are_still_the_present_ones(browser: Browser) -> None:
    preview = load_params(Path("params.yaml")).preview
    tiny.picture(1).save(_folder(PREVIEWS) / f"11111111-{preview.pictures_digest}-00000004.png")
    page = browser.get("/runs")
    assert re.findall(r"<li>([^<]+)</li>", page.partition("<h2>Previews</h2>")[2]) == preview.prompts
    params = Path("params.yaml")
    params.write_text(params.read_text().replace(preview.prompts[0], "a photo of something else"))
    assert load_params(params).preview.prompts[0] == "a photo of something else"
    told = browser.get("/runs").partition("<h2>Previews</h2>")[2]
    assert "may have asked for other prompts" in told and "something else" not in told


def test_nothing_changes_under_a_run_that_was_started_in_a_terminal(browser: Browser, monkeypatch) -> None:
    monkeypatch.setattr(workplace, "program", lambda *_: [workplace.sys.executable, "-c", ""])
    before = {path: path.read_bytes() for path in [Path("params.yaml"), *Path("data").iterdir()]}
    with only_run(Path()):
        for where, data in (
            ("/photos/held-out", {"count": "0"}),
            ("/photos/leave-out", {"name": "photo0.jpg"}),
            ("/masks/remove", {"name": "photo0.jpg"}),
            ("/runs/start", {"profile": "thesis"}),
            ("/runs/start", {}),
        ):
            answer = browser.send(where, data)
            assert answer.status_code == 400, where
            assert ("dreamtrace run" if data else "is at work already") in answer.text, where
        assert browser.send("/photos/add", files=photos(20)).status_code == 400
    assert {path: path.read_bytes() for path in [Path("params.yaml"), *Path("data").iterdir()]} == before
    assert "are held out" in browser.send("/photos/held-out", {"count": "0"}).text


def test_no_run_begins_while_a_page_changes_the_photos(browser: Browser, monkeypatch) -> None:
    def slow(workspace: Path, count: int) -> None:
        with pytest.raises(DvcBusy, match="the studio"), only_run(workspace):
            pass
        set_held_out(workspace, count)

    monkeypatch.setattr(photos_page, "set_held_out", slow)
    assert "are held out" in browser.send("/photos/held-out", {"count": "0"}).text
    with only_run(Path()):  # it is free again
        pass


def test_a_run_that_fails_says_so_and_a_chosen_profile_takes_the_subject_over(browser: Browser, monkeypatch) -> None:
    values = yaml.safe_load(Path("params.yaml").read_text())
    values["subject"] |= {"name": "bear", "token": "gtwlb"}
    values["preview"]["prompts"] = ["a gtwlb plush toy"]
    Path("params.yaml").write_text(yaml.safe_dump(values))
    fail = "print('stage prepare failed: photos'); raise SystemExit(3)"
    monkeypatch.setattr(workplace, "program", lambda *_: [workplace.sys.executable, "-c", fail])
    browser.send("/runs/start", {"profile": "thesis"})
    params = load_params(Path("params.yaml"))
    assert (params.subject.token, params.train.steps) == ("gtwlb", 1600)
    end = time.monotonic() + 30
    while "ended with an error" not in (page := browser.get("/runs")) and time.monotonic() < end:
        time.sleep(0.1)
    assert "ended with an error" in page and "stage prepare failed: photos" in page


def test_parameters_with_mistakes_stay_and_no_run_starts(browser: Browser) -> None:
    file = Path("params.yaml")
    file.write_text(file.read_text().replace("steps:", "stepz:"))
    before = file.read_bytes()
    answer = browser.send("/runs/start", {"profile": "thesis"})
    assert answer.status_code == 400 and "stepz" in answer.text
    assert file.read_bytes() == before and not list(Path().glob("params.before-*"))
    assert not browser.app.state.place.runs_now("here")


def test_pictures_of_base_and_versions_stand_side_by_side(judged: Browser, copy: Path) -> None:
    page = judged.get("/pictures")
    assert "version 1 (challenger)" in page and re.search(r">base: (?![^<]*mysks)[^<]+<", page)
    files = re.findall(r'src="(/pictures/of/[^"]+)"', page)
    assert files and all(judged.client.get(file).headers["content-type"] == "image/png" for file in files[:4])
    assert "mysks" in page  # the prompts in words
    name = re.search(r'<option value="(p\d+)"', page)
    assert name
    one = judged.get(f"/pictures?prompt={name[1]}")
    assert 0 < one.count("<figure>") < page.count("<figure>")
    for wrong in ("/pictures/of/mysks/1/tuned/..%2fx.png", "/pictures/of/mysks/9/tuned/p01-1.png", "/pictures/drawn/x"):
        assert judged.client.get(wrong).status_code in (400, 404), wrong


def test_the_verdict_names_gates_causes_and_takes_a_no(judged: Browser, copy: Path) -> None:
    page = judged.get("/verdict")
    evaluation = json.loads((copy / "reports/evaluation.json").read_text())
    for gate in evaluation["gates"]:
        asked = Gates.model_fields[gate["gate"]].description
        assert asked and f'>{gate["gate"]}<br><span class="soft">{asked}</span></td>' in html.unescape(page)
    assert evaluation["verdict"]["sentence"].split(";")[0] in page
    assert judged.client.get("/verdict/grid/mysks/1").headers["content-type"] == "image/png"
    answer = {"version": "models:/mysks/1", "name": "Eve", "reason": "smudges", "answer": "reject"}
    for missing in ("name", "reason", "answer"):
        assert judged.send("/verdict/answer", {**answer, missing: ""}).status_code == 400
    page = judged.send("/verdict/answer", answer).text
    assert "rejected by Eve: smudges" in page
    assert '<p class="said bad">rejected by Eve</p>' in page
    assert re.search(r"<li>\d{4}-\d\d-\d\d \d\d:\d\d UTC: rejected by Eve: smudges</li>", page)
    assert champion_of(connect(copy), "mysks") is None
    page = judged.send("/verdict/answer", {**answer, "answer": "approve"})
    assert page.status_code == 400 and "is not promoted" in page.text  # gates rule here, too
    assert "Nothing was changed" not in page.text
    assert [one.answer for one in reviews_of(connect(copy).get_model_version("mysks", "1").tags)] == [REJECTED]
    assert "rejected by Eve: smudges" in judged.get("/verdict")


@pytest.mark.parametrize(
    ("tag", "value", "words"),
    [
        (WITHDRAWN, "photo 0123 by Ann", "withdrawn: photo 0123 by Ann"),
        (DELETED, Deletion("Eve", "2026-11-28T14:05:00Z", "no room", 5).as_tag(), "weights deleted by Eve"),
        (REVIEWS, json.dumps([vars(Review("2026-11-28 14:05", "Eve", REJECTED, "smudges"))]), "rejected by Eve"),
    ],
)
def test_what_holds_of_a_version_now_is_said_before_its_verdict(
    judged: Browser, copy: Path, tag: str, value: str, words: str
) -> None:
    client, fit = connect(copy), "Fit for promotion: all 8 gates passed."
    sentence = json.loads((copy / "reports/evaluation.json").read_text())["verdict"]["sentence"]
    for name, told in (("validation_status", "approved"), ("verdict", fit)):
        client.set_model_version_tag("mysks", "1", name, told)
    assert f"<p>{fit}</p>" in judged.get("/models/mysks/1") and f">{html.escape(sentence)}</p>" in judged.get(
        "/verdict"
    )
    client.set_model_version_tag("mysks", "1", tag, value)
    for page, verdict in (("/models/mysks/1", fit), ("/verdict", html.escape(sentence))):
        shown = judged.get(page)
        assert re.search(rf'<p class="said bad">{words}.*</p>\s*<p[^>]*>when it was judged: ', shown), page
        assert f"when it was judged: {verdict}" in shown and f">{verdict}" not in shown


def test_an_approval_moves_the_champion_and_is_on_record(judged: Browser, copy: Path, monkeypatch) -> None:
    monkeypatch.setattr(verdict_page, "examine", lambda *_: GOOD)
    monkeypatch.setattr("pipeline.registry.promotion.examine", lambda *_: GOOD)
    answer = {"version": "models:/mysks/1", "name": "Eve", "reason": "looks right", "answer": "approve"}
    page = judged.send("/verdict/answer", answer).text
    assert "is the champion" in page and "approved by Eve: looks right" in page
    assert "dreamtrace publish" not in page  # publish.to is not set
    line = history(connect(copy), "mysks")[-1]
    assert (line["approved_by"], line["why"]) == ("Eve", "looks right")


def test_an_approval_brings_the_champion_to_where_it_is_published(
    judged: Browser, copy: Path, monkeypatch, bucket
) -> None:
    monkeypatch.setattr(verdict_page, "examine", lambda *_: GOOD)
    monkeypatch.setattr("pipeline.registry.promotion.examine", lambda *_: GOOD)
    values = yaml.safe_load((copy / "params.yaml").read_text())
    values["publish"]["to"] = f"{bucket.url}/models"
    (copy / "params.yaml").write_text(yaml.safe_dump(values))
    answer = {"version": "models:/mysks/1", "name": "Eve", "reason": "looks right", "answer": "approve"}
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    page = judged.send("/verdict/answer", answer).text
    assert '<p class="said bad"' in page and "does not answer" in page
    assert "The promotion itself is done; `dreamtrace publish mysks` publishes it" in page
    assert champion_of(connect(copy), "mysks") == "1"
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    page = judged.send("/verdict/answer", answer).text
    assert f"{bucket.url}/models/mysks is mysks version 1 now" in page


def test_models_lead_back_to_photos_and_a_photo_can_be_withdrawn(judged: Browser, copy: Path) -> None:
    page = judged.get("/models")
    assert re.search(r">\d{4}-\d\d-\d\d \d\d:\d\d UTC</td>", page)
    assert "version 1" in page and "challenger" in page and "MB" in page
    page = judged.get("/models/mysks/1")
    assert "photo0.jpg" in page and "sha256" in page
    page = judged.get("/models?photo=photo0.jpg")
    assert "mysks version 1" in page
    form = {"photo": "photo0.jpg", "name": "Eve", "reason": "asked"}
    assert "tick that you are sure" in judged.send("/models/withdraw", form).text
    assert "withdrawn" not in connect(copy).get_model_version("mysks", "1").tags
    assert judged.send("/models/withdraw", {**form, "photo": "/etc/passwd", "sure": "yes"}).status_code == 400
    page = judged.send("/models/withdraw", {**form, "sure": "yes"}).text
    assert "The photo is withdrawn" in page
    tags = connect(copy).get_model_version("mysks", "1").tags
    assert "asked" in tags["withdrawn"] and "Eve" in tags["withdrawn"]


def test_the_page_of_a_withdrawal_says_all_that_the_command_says(
    judged: Browser, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = Sighting("mysks", "1", "ab" * 32, True, 0)
    affected = [
        Affected(seen, ("champion", "night"), None),
        Affected(replace(seen, version="2", exact=False, distance=3), (), "2026-01-02 by Ann: asked"),
        Affected(replace(seen, model="tarlo"), (), None, through="mysks version 1"),
    ]
    unknown = [Unresolved("elk", "4", "its record is gone")]
    files = (("drawn/from.png",), ("drawn/with.png",), ("heron version 5",))
    found = Impact(affected, unknown, 6, "cd" * 32, None, *files)
    monkeypatch.setattr("pipeline.studio.models_page.impact", lambda *_: found)
    monkeypatch.setattr("pipeline.registry.impact.impact", lambda *_: found)
    withdraw.impact("cd" * 32)
    said = capsys.readouterr().out.splitlines()
    page = html.unescape(judged.get("/models?photo=photo0.jpg"))
    assert len(said) == 8 and [line for line in said if f">{line}</li>" not in page] == []
    assert "Withdrawing takes 2 versions out of use for good" in page
    for left, words in (
        (affected[1:2], "These versions are out of use already"),
        ([], "takes no version out of use now"),
    ):
        monkeypatch.setattr("pipeline.studio.models_page.impact", lambda *_, left=left: replace(found, affected=left))
        page = judged.get("/models?photo=photo0.jpg")
        assert words in page and "takes these versions" not in page


def test_the_weights_of_a_version_that_nobody_uses_are_deleted_by_name_and_reason(judged: Browser, copy: Path) -> None:
    assert "There is none" in judged.get("/models/clean")
    assert "is the challenger" in judged.client.get("/models/delete?version=models:/mysks/1").text
    connect(copy).delete_registered_model_alias("mysks", "challenger")
    assert 'value="models:/mysks/1"' in judged.get("/models/clean")
    assert "Delete its weights" in judged.get("/models/mysks/1")
    page = judged.get("/models/delete?version=models:/mysks/1")
    assert "the weights of mysks version 1" in page and "that no other version shares" in page
    form = {"version": ["models:/mysks/1"], "name": "Eve", "reason": "-v"}
    assert "tick that you are sure" in judged.send("/models/delete", form).text
    for given in ([], ["/etc/passwd"]):
        assert judged.send("/models/delete", {**form, "version": given, "sure": "yes"}).status_code == 400
    assert "weights_deleted" not in connect(copy).get_model_version("mysks", "1").tags
    assert "are free" in judged.send("/models/delete", {**form, "sure": "yes"}).text
    page = judged.get("/models/mysks/1")
    assert "weights deleted by Eve" in page and "-v" in page and "photo0.jpg" in page
    assert "There is none" in judged.get("/models/clean")


def test_a_workspace_without_anything_has_pages_too(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with (browser := Browser(tmp_path)).client:
        for page in ("/photos", "/runs", "/pictures", "/verdict", "/models"):
            browser.get(page)
        assert browser.client.get("/nowhere").status_code == 404
    assert not (tmp_path / "mlflow.db").exists()


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/w/x"), "/w/x: there is no space left"),
        (PermissionError(errno.EACCES, "Permission denied", "/w/data"), "/w/data: permission denied"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x"), "the name is too long"),
        (sqlite3.OperationalError("disk I/O error"), "the disk cannot be read or written"),
        (MlflowException("the server went away"), "does not answer: the server went away"),
    ],
    ids=["full disk", "no permission", "long name", "broken disk", "MLflow away"],
)
def test_what_the_system_refuses_is_a_page_with_a_sentence(browser: Browser, monkeypatch, error, said: str) -> None:
    def refused(*_: object) -> None:
        raise error

    token = browser.token()
    monkeypatch.setattr("pipeline.studio.photos_page.set_held_out", refused)
    form = {"csrf": token, "count": "2"}
    answer = browser.client.post("/photos/held-out", data=form)
    assert answer.status_code == 503 and said in html.unescape(answer.text)
    assert all(answer.headers[name] == value for name, value in HEADERS.items())
    monkeypatch.setattr(Pages, "draw", refused)  # where not even the page can be drawn
    if isinstance(error, OSError):
        answer = browser.client.post("/photos/held-out", data=form)
        assert answer.status_code == 503 and said in answer.text
        assert all(answer.headers[name] == value for name, value in HEADERS.items())


def test_a_defect_keeps_its_trace_and_the_headers(browser: Browser, monkeypatch) -> None:
    def defect(*_: object) -> None:
        raise ZeroDivisionError

    form = {"csrf": browser.token(), "count": "2"}
    monkeypatch.setattr("pipeline.studio.photos_page.set_held_out", defect)
    with pytest.raises(ZeroDivisionError):
        browser.client.post("/photos/held-out", data=form)
    quiet = TestClient(browser.app, base_url="http://127.0.0.1:8100", raise_server_exceptions=False)
    answer = quiet.post("/photos/held-out", data=form, headers=browser.client.headers)
    assert answer.status_code == 500 and "ZeroDivision" not in answer.text
    assert all(answer.headers[name] == value for name, value in HEADERS.items())


@pytest.mark.parametrize("name", ["a" * 300 + ".jpg", "ü" * 126 + ".jpg"])
def test_a_file_whose_name_no_disk_takes_is_refused(browser: Browser, name: str) -> None:
    answer = browser.send("/photos/add", files=[("files", (name, jpeg(9), "image/jpeg"))])
    assert answer.status_code == 400 and "255 bytes" in answer.text


def test_only_an_answer_to_a_form_speaks_of_the_form(browser: Browser) -> None:
    nowhere = browser.client.get("/nowhere").text
    assert "no such page" in nowhere and "as you filled it in" not in nowhere and 'href="/photos">Back' in nowhere
    assert "as you filled it in" in browser.send("/photos/held-out", {"number": "x"}).text
