"""Runs: what they cost beforehand, how long they still take, going on after a stop; and cleaning up after them."""

import json
import os
import time
from pathlib import Path

import pytest

from pipeline.files import REMOVED
from pipeline.layout import DVC_LOCK, JOURNAL, RUN
from pipeline.params import load_params
from pipeline.runs import leftovers
from pipeline.runs.costs import in_words, time_left
from pipeline.runs.workspaces import MARK, RUNS
from pipeline.studio import workplace
from pipeline.studio.workplace import Workplace
from pipeline.training.finished import FINISHED
from tests.studio.browser import Browser


def journal(*rows: dict[str, float]) -> None:
    Path(JOURNAL).parent.mkdir(exist_ok=True)
    Path(JOURNAL).write_text("".join(json.dumps(row) + "\n" for row in ({"run_id": "x"}, *rows)))


def test_the_time_left_follows_the_trainings_own_speed(browser: Browser) -> None:
    params = load_params(Path("params.yaml"))
    train = params.train.model_copy(update={"steps": 100, "batch": 2, "gradient_accumulation": 3, "processes": 4})
    params = params.model_copy(update={"train": train})
    journal(*({"step": step, "images_per_second": 0.5} for step in range(10, 50, 10)))
    assert time_left(Path(), params, 0) == (40, 60 * 24 / 0.5)
    with Path(JOURNAL).open("a") as file:
        file.write('{"step": 50, "ima')  # as a reader may find it
    assert time_left(Path(), params, 0) == (40, 60 * 24 / 0.5)
    os.utime(JOURNAL, (100, 100))
    assert time_left(Path(), params, 101) is None  # an earlier training's
    Path(RUN).parent.mkdir(parents=True)
    Path(RUN).write_text('{"run_id": "x"}')
    os.utime(JOURNAL)
    assert time_left(Path(), params, 0) is None  # it has ended; its pictures are being judged
    Path(RUN).unlink()
    for broken in ("", "{}\n", '{"run_id": "x"}\n{"step"'):
        Path(JOURNAL).write_text(broken)
        assert time_left(Path(), params, 0) is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "less than a minute"), (29, "less than a minute"), (70, "about 1 minute"), (5399, "about 1 h 30 min"),
     (5300, "about 88 minutes"), (36000, "about 10 h 0 min")],
)  # fmt: skip
def test_times_are_told_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_a_run_shows_costs_before_and_time_left_while_it_trains(browser: Browser, monkeypatch) -> None:
    page = browser.get("/runs")
    assert "unknown: nothing was trained in this workspace yet" in page and "GB free" in page
    journal({"step": 3, "images_per_second": 0.01})
    os.utime(JOURNAL, (100, 100))
    wait = "import time\nprint('training has begun', flush=True)\ntime.sleep(600)"
    monkeypatch.setattr(workplace, "program", lambda *_: [workplace.sys.executable, "-c", wait])
    browser.send("/runs/start")
    assert "step 3 of" not in browser.get("/runs")  # of the training before
    journal({"step": 3, "images_per_second": 0.01})
    assert "step 3 of 4 of the training, about 3 minutes left of it" in browser.get("/runs")
    browser.send("/runs/stop")


def test_a_stopped_training_is_offered_to_go_on(browser: Browser) -> None:
    assert ">Start</button>" in browser.get("/runs")
    folder = Path(leftovers.CHECKPOINTS) / ("a" * 64)
    for step in (2, 12):
        (folder / f"step-{step:08d}").mkdir(parents=True)
    removed = Path(leftovers.CHECKPOINTS) / f".{'b' * 64}{REMOVED}"  # of a finished one
    (removed / "step-00000099").mkdir(parents=True)
    page = browser.get("/runs")
    assert "stopped at step 12" in page and ">Go on</button>" in page
    Path(RUN).parent.mkdir(parents=True)
    Path(RUN).write_text(json.dumps({"inputs": "a" * 64}))
    assert ">Start</button>" in browser.get("/runs")  # it was finished meanwhile


def test_a_training_that_ended_was_not_stopped(browser: Browser) -> None:
    folder = Path(leftovers.CHECKPOINTS) / ("a" * 64)
    (folder / "step-00000012").mkdir(parents=True)
    (folder / FINISHED).write_text(json.dumps({"run_md5": "a"}))
    page = browser.get("/runs")
    assert "stopped at step" not in page and "without another step" in page and ">Go on</button>" in page
    outs = [{"path": RUN.as_posix(), "md5": "a"}]
    Path(DVC_LOCK).write_text(json.dumps({"stages": {"train": {"outs": outs}}}))
    page = browser.get("/runs")  # its results are safe
    assert "stopped at step" not in page and "without another step" not in page and ">Start</button>" in page


def test_what_failed_runs_left_is_removed_after_a_yes_and_nothing_else(browser: Browser) -> None:
    old = time.time() - 30 * 86400
    marks = {}
    for name, made in (("failed", False), ("made", True)):
        marks[name] = RUNS / name / MARK
        marks[name].parent.mkdir(parents=True, exist_ok=True)
        marks[name].write_text(json.dumps({"kept": False, "source": str(Path().resolve())}))
        if made:
            (RUNS / name / "artifacts/trained/model").mkdir(parents=True)
        for path in [*(RUNS / name).rglob("*"), RUNS / name]:
            os.utime(path, (old, old))
    page = browser.get("/models/clean")
    assert "without a model" in page and "results are saved nowhere else" in page
    failed = next(item.where for item in leftovers.find_leftovers(Path().resolve(), 7).found if "failed" in item.where)
    form = {"days": "7", "where": failed, "sure": "yes"}
    for missing in ("where", "sure"):
        assert (
            browser.send("/models/clean", {key: value for key, value in form.items() if key != missing}).status_code
            == 400
        )
    assert browser.send("/models/clean", {**form, "days": "-1"}).status_code == 400
    made = str((RUNS / "made").resolve())
    said = browser.send("/models/clean", {**form, "where": [failed, made, str(Path("data").resolve())]}).text
    assert "B are free" in said and said.count("is no leftover any more and was kept") == 2
    assert not (RUNS / "failed").exists() and (RUNS / "made").is_dir() and Path("data").is_dir()


def test_a_run_that_cannot_be_ended_leaves_none_of_the_others_running(tmp_path: Path) -> None:
    class Stubborn:
        def end(self) -> None:
            raise OSError("it does not end")

    class Obedient:
        ended = False

        def end(self) -> None:
            self.ended = True

    place, others = Workplace(tmp_path), [Obedient(), Obedient()]
    place._runs = {"first": Stubborn(), "second": others[0], "third": others[1]}
    with pytest.raises(OSError, match="it does not end"):
        place.close()
    assert all(other.ended for other in others)
