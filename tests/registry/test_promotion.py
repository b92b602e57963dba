"""Who becomes the champion: refusals by name, the aliases, the history, two at once, and a cut between two writes."""

import json
import threading
from pathlib import Path

import pytest

from pipeline.registry import promotion
from pipeline.registry.lock import STALE, Busy, promotion_lock
from pipeline.registry.promotion import Examined, Refused, champion_of, history, promote, rollback
from pipeline.registry.store import connect

NAME = "mysks"


@pytest.fixture
def workspace(empty_registry: Path) -> Path:
    """A registry with three versions of one model."""
    client = connect(empty_registry)
    client.create_registered_model(NAME)
    for _ in range(3):
        client.create_model_version(NAME, str(empty_registry))
    return empty_registry


def examined(version: str, champion: str | None, *objections: str) -> Examined:
    return Examined(NAME, version, champion, list(objections), {"decision": "better"}, "runs:/x/report")


def aliases(workspace: Path) -> dict[str, str]:
    found = connect(workspace).get_registered_model(NAME).aliases
    return {alias: str(version) for alias, version in found.items()}


def test_the_champion_moves_and_the_one_before_is_kept(workspace: Path) -> None:
    assert promote(workspace, examined("1", None), "ann", "first") is not None
    assert aliases(workspace) == {"champion": "1"}
    promote(workspace, examined("2", "1"), "bob")
    assert aliases(workspace) == {"champion": "2", "previous-champion": "1"}
    lines = history(connect(workspace), NAME)
    assert [(line["version"], line["before"], line["by"], line["why"]) for line in lines] == [
        ("1", None, "ann", "first"), ("2", "1", "bob", ""),
    ]  # fmt: skip
    assert lines[0]["decision"] == "no champion yet"
    assert json.loads(connect(workspace).get_model_version(NAME, "2").tags["promotion"]) == lines[1]
    assert promote(workspace, examined("2", "2"), "bob") is None
    assert len(history(connect(workspace), NAME)) == 2


def test_objections_stop_it_unless_it_is_forced_and_then_they_are_on_record(workspace: Path) -> None:
    against = examined("1", None, "the gates: it repeats training photos")
    with pytest.raises(Refused, match="repeats training photos"):
        promote(workspace, against, "ann")
    assert aliases(workspace) == {}
    moved = promote(workspace, against, "ann", "the launch is today", force=True)
    assert moved is not None
    assert moved.forced
    assert moved.why == "the launch is today. in spite of: the gates: it repeats training photos"


def test_rollback_changes_the_two_and_there_must_be_two(workspace: Path) -> None:
    promote(workspace, examined("1", None), "ann")
    with pytest.raises(Refused, match="no previous champion"):
        rollback(workspace, NAME, "ann")
    promote(workspace, examined("2", "1"), "ann")
    moved = rollback(workspace, NAME, "bob", "pictures of the wrong toy")
    assert (moved.version, moved.before) == ("1", "2")
    assert aliases(workspace) == {"champion": "1", "previous-champion": "2"}
    assert history(connect(workspace), NAME)[-1]["decision"] == "rollback"
    connect(workspace).set_model_version_tag(NAME, "2", promotion.WITHDRAWN, "photo 3")
    with pytest.raises(Refused, match="was withdrawn"):
        rollback(workspace, NAME, "bob")


@pytest.mark.parametrize("cut", [1, 2, 3, 4])
def test_cut_off_between_two_writes_the_champion_is_one_version_and_again_finishes(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    from mlflow import MlflowClient

    promote(workspace, examined("1", None), "ann")

    class Killed(BaseException):
        pass

    left = [cut]

    def counted(name: str):
        real = getattr(MlflowClient, name)

        def call(*args, **kwargs):
            left[0] -= 1
            if left[0] == 0:
                raise Killed
            return real(*args, **kwargs)

        return call

    with monkeypatch.context() as patch, pytest.raises(Killed):
        for name in ("set_model_version_tag", "set_registered_model_alias", "set_registered_model_tag"):
            patch.setattr(MlflowClient, name, counted(name))
        promote(workspace, examined("2", "1"), "bob")
    assert aliases(workspace)["champion"] == ("2" if cut == 4 else "1")
    promote(workspace, examined("2", champion_of(connect(workspace), NAME)), "bob")
    assert aliases(workspace) == {"champion": "2", "previous-champion": "1"}
    assert [line["version"] for line in history(connect(workspace), NAME)] == ["1", "2"]


def test_of_two_at_once_one_is_told(workspace: Path) -> None:
    promote(workspace, examined("1", None), "ann")
    told: list[str] = []
    both = threading.Barrier(2)

    def work(version: str) -> None:
        both.wait()
        try:
            promote(workspace, examined(version, "1"), f"who promotes {version}")
            told.append("done")
        except (Busy, Refused) as error:
            told.append(str(error))

    threads = [threading.Thread(target=work, args=(version,)) for version in ("2", "3")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told.count("done") == 1
    (loser,) = (line for line in told if line != "done")
    assert "began to move" in loser or "has changed" in loser or "just begun" in loser
    assert aliases(workspace)["previous-champion"] == "1"
    assert {line["version"] for line in history(connect(workspace), NAME)} == {"1", aliases(workspace)["champion"]}


def test_a_lock_is_given_back_and_a_forgotten_one_expires(workspace: Path, monkeypatch) -> None:
    client = connect(workspace)
    with promotion_lock(client, NAME, "ann"), pytest.raises(Busy, match="ann began"):
        promote(workspace, examined("1", None), "bob")
    with pytest.raises(RuntimeError), promotion_lock(client, NAME, "ann"):
        raise RuntimeError
    client.create_registered_model(f"{NAME}.promoting", tags={"at": "0", "by": "a killed one"})
    assert STALE < 10**9
    assert promote(workspace, examined("1", None), "bob") is not None
    assert [model.name for model in client.search_registered_models()] == [NAME]


def test_a_long_history_keeps_its_newest_lines(workspace: Path) -> None:
    before = None
    for turn in range(30):
        version = "12"[turn % 2]
        promote(workspace, examined(version, before), "ann", f"turn {turn} " + "x" * 100)
        before = version
    lines = history(connect(workspace), NAME)
    assert lines[-1]["why"].startswith("turn 29")
    assert 5 < len(lines) < 30
