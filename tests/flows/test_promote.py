"""The flow `promote`: a person is asked in the Prefect UI, and what they say is done."""

import threading
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import yaml
from prefect.logging import disable_run_logger
from pydantic import ValidationError

from flows import promote as flows
from pipeline.errors import TRY_AGAIN
from pipeline.registry import promotion
from pipeline.registry.aliases import champion_of
from pipeline.registry.examination import Examined, Refused
from pipeline.registry.found import Found, Stored
from pipeline.registry.lock import promotion_lock
from pipeline.registry.promotion_history import history
from pipeline.registry.publication import NotPublished, Published, publishing
from pipeline.registry.store import connect
from pipeline.storage.s3 import StorageSilent

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    client = connect(tmp_path)
    client.create_registered_model("mysks")
    client.create_model_version("mysks", str(tmp_path))
    good = Examined("mysks", "1", None, [], None, "runs:/x/report")
    examined_as(monkeypatch, good)
    return tmp_path


def examined_as(monkeypatch: pytest.MonkeyPatch, found: Examined) -> None:
    """Both examinations, before the question and with the lock held, find this."""
    monkeypatch.setattr(flows, "examine", lambda *_: found)
    monkeypatch.setattr(promotion, "examine", lambda *_: found)


def answer(said: dict[str, object]) -> threading.Thread:
    """A person who waits for the question and answers it."""

    def wait() -> None:
        from prefect.client.orchestration import get_client
        from prefect.flow_runs import resume_flow_run

        with get_client(sync_client=True) as client:
            for _ in range(300):
                paused = [run for run in client.read_flow_runs() if run.state_name == "Paused"]
                if paused:
                    break
                time.sleep(0.2)
        resume_flow_run(paused[0].id, run_input=said)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@pytest.mark.slow
def test_a_person_is_asked_and_the_answer_counts(registry: Path, prefect) -> None:
    no = answer({"name": "Eve", "promote": False, "reason": "wrong colour"})
    with pytest.raises(Refused, match=r"rejected by Eve\. wrong colour"):
        flows.promote("models:/mysks/1", registry, by="ann", ask=True)
    no.join()
    assert champion_of(connect(registry), "mysks") is None
    yes = answer({"name": " Eve ", "promote": True, "reason": "looks right"})
    said = flows.promote("models:/mysks/1", registry, by="ann", reason="for the fair", ask=True)
    yes.join()
    assert said == "mysks version 1 is the champion."
    assert champion_of(connect(registry), "mysks") == "1"
    line = history(connect(registry), "mysks")[-1]
    assert (line["by"], line["approved_by"], line["why"]) == ("ann", "Eve", "for the fair. looks right")


def test_an_answer_waits_for_another_promotion(registry: Path, prefect) -> None:
    with promotion_lock(connect(registry), "mysks", "bob"):
        yes = answer({"name": "Eve", "promote": True, "reason": "looks right"})
        done = threading.Thread(target=flows.promote, args=("models:/mysks/1", registry), kwargs={"ask": True})
        done.start()
        yes.join()
        time.sleep(2)
    done.join()
    assert champion_of(connect(registry), "mysks") == "1"
    assert history(connect(registry), "mysks")[-1]["approved_by"] == "Eve"


@pytest.mark.parametrize("name", [None, "", "  "])
def test_nobody_approves_without_a_name(name: str | None) -> None:
    with pytest.raises(ValidationError, match="name"):
        flows.Approval(promote=True, **({} if name is None else {"name": name}))


def test_an_approval_that_comes_after_a_withdrawal_is_refused(registry: Path, prefect, monkeypatch) -> None:
    gone = Examined("mysks", "1", None, [], None, "runs:/x/report", ["it was withdrawn: its owner asked"])
    monkeypatch.setattr(promotion, "examine", lambda *_: gone)
    yes = answer({"name": "Eve", "promote": True})
    with pytest.raises(Refused, match="its owner asked"):
        flows.promote("models:/mysks/1", registry, by="ann", ask=True, force=True, reason="the launch is today")
    yes.join()
    assert champion_of(connect(registry), "mysks") is None


def test_a_promotion_brings_the_champion_where_params_yaml_says(registry: Path, prefect, monkeypatch) -> None:
    values = yaml.safe_load((ROOT / "params.yaml").read_text()) | {"publish": {"to": "s3://bucket/models"}}
    (registry / "params.yaml").write_text(yaml.safe_dump(values))
    down = [True]

    def publish(workspace: Path, name: str, to: str, by: str) -> Published:
        if down[0]:
            raise StorageSilent("S3 is down")
        return Published({"model": name, "version": champion_of(connect(workspace), name)}, 2_000_000, True)

    monkeypatch.setattr(flows.publication, "publish_champion", publish)
    with pytest.raises(NotPublished, match=r"(?s)S3 is down.*itself is done; `dreamtrace publish mysks`") as told:
        flows.promote("models:/mysks/1", registry, by="ann")
    assert told.value.status == TRY_AGAIN
    assert champion_of(connect(registry), "mysks") == "1"  # what was done stays done, the same command finishes it
    down[0] = False
    examined_as(monkeypatch, Examined("mysks", "1", "1", [], None, "runs:/x/report"))
    said = flows.promote("models:/mysks/1", registry, by="ann")
    assert said.splitlines() == [
        "mysks version 1 is already the champion.",
        "s3://bucket/models/mysks is mysks version 1 now (2.0 MB sent).",
    ]


def test_an_upload_that_fails_for_an_unforeseen_reason_says_what_is_done(capsys) -> None:
    said = r"(?s)KeyError: 'x'.*The promotion itself is done; `dreamtrace publish mysks`"
    with pytest.raises(NotPublished, match=said), publishing("mysks", "The promotion itself is done"):
        raise KeyError("x")
    assert "Traceback" in capsys.readouterr().err  # where it happened is not lost


def test_a_picture_that_cannot_be_read_stops_no_promotion(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "grid.png").write_bytes(b"no picture")
    found = Found("mysks version 1", {}, stored=cast(Stored, SimpleNamespace(report=lambda: tmp_path)))
    monkeypatch.setattr(flows, "find_record", lambda *_: nullcontext(found))
    with disable_run_logger():
        assert flows.show_version.fn(tmp_path, Examined("mysks", "1", None, [], None, "runs:/x/report")) == ""


@pytest.mark.parametrize("content", [None, "{", "[]", '{"verdict": {}}'])
def test_a_version_without_a_whole_evaluation_is_shown_without_gates(tmp_path: Path, monkeypatch, content) -> None:
    if content is not None:
        (tmp_path / "evaluation.json").write_text(content)
    found = Found("mysks version 1", {}, {"MLflow run": "x"}, files=tmp_path)
    monkeypatch.setattr(flows, "find_record", lambda *_: nullcontext(found))
    monkeypatch.setattr(flows, "preferred", lambda *_: [])
    monkeypatch.setattr(flows, "version_links", lambda *_: [])
    with disable_run_logger():
        shown = flows.show_version.fn(tmp_path, Examined("mysks", "1", None, [], None, "runs:/x/report"))
    assert shown.strip() == ""
