"""Who becomes the champion: refusals by name, the aliases, the history, two at once, and a cut between two writes."""

import dataclasses
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from pipeline.lineage.deleted import DELETED
from pipeline.registry import lock, promotion
from pipeline.registry.aliases import UnknownModel, champion_of
from pipeline.registry.examination import Examined, Refused, recipe_objections
from pipeline.registry.lock import Busy, promotion_lock, registration_lock
from pipeline.registry.promotion import promote, rollback
from pipeline.registry.promotion_history import history
from pipeline.registry.recipes import set_recipe
from pipeline.registry.store import connect
from pipeline.registry.withdrawn_photos import WithdrawnPhoto, record_withdrawn
from pipeline.sampling.recipe import recipe_of
from tests.registry.killed_writes import killed_before_write

NAME = "mysks"


PHOTO = "a" * 64  # that version 2 was trained on


@pytest.fixture
def objections() -> dict[str, list[str]]:
    """What a second examination finds against each version."""
    return {}


@pytest.fixture
def workspace(empty_registry: Path, objections: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry with three versions of one model; their records are stand-ins, their aliases and tags are real."""

    def examine(workspace: Path, ref: str, allow_unclean: bool) -> Examined:
        client, version = connect(workspace), ref.rpartition("/")[2]
        tags = client.get_model_version(NAME, version).tags
        forbidden = [f"it was withdrawn: {tags['withdrawn']}"] if "withdrawn" in tags else []
        found = examined(version, champion_of(client, NAME), *objections.get(version, []))
        return dataclasses.replace(found, forbidden=forbidden)

    monkeypatch.setattr(promotion, "examine", examine)
    client = connect(empty_registry)
    client.create_registered_model(NAME)
    for _ in range(3):
        client.create_model_version(NAME, str(empty_registry), tags={"photos": json.dumps([[PHOTO, None]])})
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


def test_objections_stop_it_unless_it_is_forced_and_then_they_are_on_record(
    workspace: Path, objections: dict[str, list[str]]
) -> None:
    against = examined("1", None, "the gates: it repeats training photos")
    objections["1"] = against.objections
    with pytest.raises(Refused, match="repeats training photos"):
        promote(workspace, against, "ann")
    assert aliases(workspace) == {}
    moved = promote(workspace, against, "ann", "the launch is today", force=True)
    assert moved is not None
    assert moved.forced
    assert moved.why == "the launch is today. overridden: the gates: it repeats training photos"


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


WRITES = (
    "set_model_version_tag", "set_registered_model_alias", "set_registered_model_tag",
    "delete_registered_model_alias", "delete_registered_model_tag",
)  # fmt: skip


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 5, 6])
def test_cut_off_between_two_writes_the_champion_is_one_version_and_again_finishes(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    promote(workspace, examined("1", None), "ann")
    with killed_before_write(monkeypatch, cut, WRITES):
        promote(workspace, examined("2", "1"), "bob")
    assert aliases(workspace)["champion"] == ("2" if cut > 4 else "1")
    promote(workspace, examined("2", champion_of(connect(workspace), NAME)), "bob")
    assert aliases(workspace) == {"champion": "2", "previous-champion": "1"}
    assert [line["version"] for line in history(connect(workspace), NAME)] == ["1", "2"]


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 5, 6])
def test_a_rollback_that_was_cut_off_is_finished_by_the_same_command(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    promote(workspace, examined("1", None), "ann")
    promote(workspace, examined("2", "1"), "ann")
    with killed_before_write(monkeypatch, cut, WRITES):
        rollback(workspace, NAME, "bob")
    assert aliases(workspace)["champion"] in ("1", "2")
    assert rollback(workspace, NAME, "bob").version == "1"
    assert aliases(workspace) == {"champion": "1", "previous-champion": "2"}
    assert [line["version"] for line in history(connect(workspace), NAME)] == ["1", "2", "1"]


@pytest.mark.parametrize("cut", [3, 4])
def test_a_promotion_that_was_cut_off_and_given_up_leaves_the_way_back(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    promote(workspace, examined("1", None), "ann")
    promote(workspace, examined("2", "1"), "ann")
    with killed_before_write(monkeypatch, cut, WRITES):
        promote(workspace, examined("3", "2"), "bob")
    assert rollback(workspace, NAME, "bob").version == "1"
    assert aliases(workspace) == {"champion": "1", "previous-champion": "2"}
    assert "promotion" not in connect(workspace).get_model_version(NAME, "3").tags  # it never was the champion


def test_an_approval_after_a_withdrawal_is_refused_with_force_too(workspace: Path) -> None:
    before = examined("1", None)
    connect(workspace).set_model_version_tag(NAME, "1", "withdrawn", "photo 3")
    for force in (False, True):
        with pytest.raises(Refused, match="was withdrawn: photo 3"):
            promote(workspace, before, "ann", "the launch is today", force=force, approved_by="bob")
    assert aliases(workspace) == {}


def test_what_was_found_after_the_examination_is_not_overridden(
    workspace: Path, objections: dict[str, list[str]]
) -> None:
    before = examined("1", None, "the gates: old")
    objections["1"] = ["the gates: old", "the chain: weights is broken"]
    with pytest.raises(Refused, match=r"changed since it was examined.*\n.*weights is broken"):
        promote(workspace, before, "ann", "because", force=True)
    assert aliases(workspace) == {}


def test_a_rollback_to_a_withdrawn_photo_is_refused_before_its_version_is_marked(workspace: Path) -> None:
    promote(workspace, examined("1", None), "ann")
    promote(workspace, examined("2", "1"), "ann")
    record_withdrawn(connect(workspace), [WithdrawnPhoto(PHOTO, None, "ann", "now", "")])
    with pytest.raises(Refused, match="trained on photos that were withdrawn"):
        rollback(workspace, NAME, "bob")


def test_who_approved_is_on_record(workspace: Path) -> None:
    promote(workspace, examined("1", None), "ann", approved_by="bob")
    assert history(connect(workspace), NAME)[-1]["approved_by"] == "bob"


@pytest.mark.parametrize("letter", ["x", "\u00fc", "\U0001f437"])
def test_very_long_objections_are_shortened_in_the_history(
    workspace: Path, objections: dict[str, list[str]], letter: str
) -> None:
    objections["1"] = ["the chain: " + letter * 7000]
    promote(workspace, examined("1", None, *objections["1"]), "ann", "the only one there is", force=True)
    (line,) = history(connect(workspace), NAME)
    assert line["why"].startswith("the only one there is. overridden: the chain") and line["why"].endswith(
        "[shortened]"
    )
    assert json.loads(connect(workspace).get_model_version(NAME, "1").tags["promotion"])["why"].endswith(letter)


def test_an_unknown_model_is_named(workspace: Path) -> None:
    with pytest.raises(UnknownModel, match="no model 'nope'; it has mysks"):
        rollback(workspace, "nope", "ann")


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
    assert "is promoting" in loser or "has changed" in loser
    assert aliases(workspace)["previous-champion"] == "1"
    assert {line["version"] for line in history(connect(workspace), NAME)} == {"1", aliases(workspace)["champion"]}


def test_a_lock_is_given_back_and_a_forgotten_one_expires(workspace: Path, monkeypatch) -> None:
    client = connect(workspace)
    with promotion_lock(client, NAME, "ann"), pytest.raises(Busy, match="ann is changing it"):
        promote(workspace, examined("1", None), "bob")
    with pytest.raises(RuntimeError), promotion_lock(client, NAME, "ann"):
        raise RuntimeError
    client.create_registered_model(f"{NAME}.promoting", tags={"token": "1", "by": "a killed one"})
    monkeypatch.setattr(lock, "STALE", 0)
    assert promote(workspace, examined("1", None), "bob") is not None
    assert [model.name for model in client.search_registered_models()] == [NAME]


@pytest.mark.parametrize("what", ["update", "delete"])
def test_a_lock_that_is_given_back_while_another_one_looks_at_it_is_gone(
    workspace: Path, monkeypatch, what: str
) -> None:
    client = connect(workspace)
    client.create_registered_model("mysks.registering", tags={"token": "x"})

    def gone(*_: Any, **__: Any) -> None:
        client.delete_registered_model("mysks.registering")
        raise MlflowException(
            f"{what} statement on table 'registered_models' expected to {what} 1 row(s); 0 were matched."
        )

    with monkeypatch.context() as patch:
        other = connect(workspace)
        patch.setattr(other, "update_registered_model", gone)
        with registration_lock(other, "mysks"):
            pass
    assert not client.search_registered_models(filter_string="name = 'mysks.registering'")


def test_a_holder_whose_lock_expired_notices(workspace: Path) -> None:
    client = connect(workspace)
    with promotion_lock(client, NAME, "ann") as held:
        held.confirm()
        client.delete_registered_model(f"{NAME}.promoting")
        with promotion_lock(client, NAME, "bob"), pytest.raises(Busy, match="its lock expired"):
            held.confirm()


def test_a_long_history_keeps_its_newest_lines(workspace: Path) -> None:
    before = None
    for turn in range(30):
        version = "12"[turn % 2]
        promote(workspace, examined(version, before), "ann", f"turn {turn} " + "x" * 100)
        before = version
    lines = history(connect(workspace), NAME)
    assert lines[-1]["why"].startswith("turn 29")
    assert 5 < len(lines) < 30


@pytest.mark.parametrize("tag", ["withdrawn", DELETED])
def test_a_version_whose_recipe_draws_with_one_out_of_use_does_not_come_back(workspace: Path, tag: str) -> None:
    client, content = connect(workspace), "b" * 64
    client.create_registered_model("elk")
    client.create_model_version("elk", str(workspace), tags={"content_digest": content})
    recipe = recipe_of({"adapters": [{"model": "models:/elk/1", "digest": content}]}, "it")
    promote(workspace, examined("1", None), "ann")
    promote(workspace, examined("2", "1"), "ann")
    set_recipe(client, NAME, "1", recipe, "ann")
    tags = dict(client.get_model_version(NAME, "1").tags)
    assert recipe_objections(client, tags, "it") == ([], [])
    client.set_model_version_tag("elk", "1", tag, "asked")
    forbidden, unknown = recipe_objections(client, tags, "it")
    assert len(forbidden) == 1 and "its recipe draws with models:/elk/1" in forbidden[0] and unknown == []
    with pytest.raises(Refused, match="cannot come back: its recipe draws with models:/elk/1"):
        rollback(workspace, NAME, "bob")
    client.create_model_version("elk", str(workspace), tags={"content_digest": content})
    assert recipe_objections(client, tags, "it")[0] == (forbidden if tag == "withdrawn" else [])  # a copy has weights
    for number in ("1", "2"):
        client.delete_model_version("elk", number)
    forbidden, unknown = recipe_objections(client, tags, "it")
    assert forbidden == [] and "which no version here has" in unknown[0]
