"""Copies of a withdrawn photo: listed, deleted after a second yes, and looked for again."""

from pathlib import Path

import pytest

from pipeline.commands.errors import CommandError
from pipeline.commands.withdraw import run_withdrawal
from pipeline.files import digest_file
from pipeline.registry.impact import impact
from pipeline.registry.photo_copies import find_copies


def test_purge_removes_every_copy_that_is_listed_and_proves_it(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    photo = copy / "data" / "photo0.jpg"
    digest = digest_file(photo)
    affected = impact(copy, str(photo)).affected
    kinds = {found.kind for found in find_copies(copy, [digest], affected).found}
    assert kinds >= {"photo", "prepared picture", "report", "report in MLflow", "DVC's cache", "DVC's remote"}
    others = {path: digest_file(path) for path in (copy / "data").glob("*.jpg") if path != photo}
    answers = iter(["yes", "no"])
    monkeypatch.setattr("builtins.input", lambda _: next(answers))
    with pytest.raises(CommandError, match="nothing was deleted"):
        run_withdrawal(copy, str(photo), "ann", "asked", exact=False, yes=False, purge=True)
    assert photo.is_file()
    run_withdrawal(copy, digest, "ann", "asked", exact=False, yes=True, purge=True)  # by digest: the file may be lost
    assert "looked for again: 0 left" in capsys.readouterr().out
    assert not photo.exists()
    assert find_copies(copy, [digest], affected).found == []
    assert {path: digest_file(path) for path in others} == others
