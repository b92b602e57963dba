"""A person's yes and no: what they change, what they leave, and that a promotion knows of them."""

import re
from pathlib import Path

import pytest

from pipeline.registry.aliases import alias_of
from pipeline.registry.approval import approve, reject
from pipeline.registry.deletion import delete_weights, plan_deletion
from pipeline.registry.examination import Refused, examine
from pipeline.registry.lock import Busy, promotion_lock
from pipeline.registry.promotion import promote, rollback
from pipeline.registry.reviews import KEPT, reviews_of
from pipeline.registry.store import connect
from tests.commands.test_app import dreamtrace

ONE = "models:/mysks/1"


def reviews(workspace: Path) -> list[tuple[str, str, str]]:
    tags = connect(workspace).get_model_version("mysks", "1").tags
    return [(one.by, one.answer, one.reason) for one in reviews_of(tags)]


def test_the_only_version_can_be_deleted_once_it_is_rejected(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(copy)
    assert dreamtrace(monkeypatch, "delete", ONE, "--reason", "a try-out", "--yes") == 1
    assert f"`dreamtrace reject {ONE} --reason WHY` takes the alias away" in capsys.readouterr().err
    assert dreamtrace(monkeypatch, "reject", ONE, "--reason", "smudges", "--by", "Eve") == 0
    assert "It is no longer the challenger." in capsys.readouterr().out
    assert alias_of(connect(copy), "mysks", "challenger") is None
    assert reviews(copy) == [("Eve", "rejected", "smudges")]
    assert dreamtrace(monkeypatch, "list") == 0
    assert "models:/mysks/1  -  rejected by Eve  " in capsys.readouterr().out
    freed, problems = delete_weights(copy, plan_deletion(copy, [ONE]), "ann", "a try-out")
    assert freed > 0 and not problems


@pytest.mark.parametrize("reason", ["", "  "])
def test_a_no_needs_a_reason(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], reason: str
) -> None:
    monkeypatch.chdir(copy)
    assert dreamtrace(monkeypatch, "reject", ONE, "--reason", reason) == 1
    assert "--reason is empty" in capsys.readouterr().err
    assert alias_of(connect(copy), "mysks", "challenger") == "1"


def test_a_rejected_version_is_no_champion_until_somebody_says_yes_or_forces_it(copy: Path) -> None:
    before = examine(copy, ONE, allow_unclean=True).objections
    reject(copy, ONE, "Eve", "wrong colour")
    examined = examine(copy, ONE, allow_unclean=True)
    assert [line for line in examined.objections if line not in before] == examined.rejected
    assert re.fullmatch(r"Eve rejected it on \d{4}-\d\d-\d\d \d\d:\d\d UTC: wrong colour", examined.rejected[0])
    assert examined.approved().objections == before
    with pytest.raises(Refused, match="Eve rejected it on"):
        promote(copy, examined, by="ann")
    assert alias_of(connect(copy), "mysks", "champion") is None
    approve(copy, "mysks", "1", "ann", "the light was wrong")
    assert examine(copy, ONE, allow_unclean=True).objections == before


def test_a_yes_does_not_outlive_a_later_no(copy: Path) -> None:
    approve(copy, "mysks", "1", "ann", "")
    examined = examine(copy, ONE, allow_unclean=True)
    reject(copy, ONE, "Eve", "wrong colour")
    with pytest.raises(Refused, match="has changed since it was examined"):
        promote(copy, examined, by="ann", why="fair", force=True, allow_unclean=True)


def test_the_champion_and_the_one_before_stay(copy: Path) -> None:
    client = connect(copy)
    client.set_registered_model_alias("mysks", "previous-champion", "1")
    client.set_registered_model_alias("mysks", "champion", "1")
    said = reject(copy, ONE, "Eve", "wrong colour")
    assert (said.lost, said.kept) == (["challenger"], ["champion", "previous-champion"])
    assert "still the champion" in said.sentence
    assert alias_of(client, "mysks", "champion") == alias_of(client, "mysks", "previous-champion") == "1"
    with pytest.raises(Refused, match="no previous champion"):
        rollback(copy, "mysks", "ann")


def test_while_the_champion_moves_nobody_rejects(copy: Path) -> None:
    with promotion_lock(connect(copy), "mysks", "ann"), pytest.raises(Busy):
        reject(copy, ONE, "Eve", "wrong colour")
    assert reviews(copy) == []
    assert alias_of(connect(copy), "mysks", "challenger") == "1"


def test_old_reviews_make_room(copy: Path) -> None:
    for number in range(KEPT + 2):
        approve(copy, "mysks", "1", "ann", str(number))
    assert [reason for _, _, reason in reviews(copy)] == [str(number) for number in range(2, KEPT + 2)]


@pytest.mark.parametrize("command", [["trace"], ["reject", "--reason", "x"], ["promote"], ["export", "to.safetensors"]])
def test_the_name_of_a_model_alone_is_answered_with_what_was_meant(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    monkeypatch.chdir(copy)
    verb, *more = command
    assert dreamtrace(monkeypatch, verb, "mysks", *more) == 1
    assert "did you mean models:/mysks@challenger?" in capsys.readouterr().err
    connect(copy).delete_registered_model_alias("mysks", "challenger")
    assert dreamtrace(monkeypatch, verb, "mysks", *more) == 1
    assert "did you mean models:/mysks/1?" in capsys.readouterr().err
    assert dreamtrace(monkeypatch, verb, "mysk", *more) == 1
    assert "did you mean" not in capsys.readouterr().err
