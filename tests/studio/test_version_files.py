"""Reports of versions whose files are elsewhere: kept whole, and never one of an earlier judgement."""

import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipeline.layout import REPORT_GRID
from pipeline.registry.artifacts import ArtifactsAway
from pipeline.registry.found import Found, Stored
from pipeline.registry.lookup import UnknownVersion, find_record, recorded_evaluation
from pipeline.registry.store import connect
from pipeline.studio import version_files as module
from pipeline.studio.version_files import KEPT, kept_report, version_files

VERSION = "models:/mysks/1"
CONTENT, FIRST, SECOND = "c" * 64, "1" * 64, "2" * 64


def fetched(folder: Path, text: str) -> Stored:
    """A store whose report is fetched into a folder, anew each time."""

    def report() -> Path:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / REPORT_GRID.name).write_text(text)
        (folder / "index.html").write_text(text)
        return folder

    return cast(Stored, SimpleNamespace(report=report))


def test_a_report_is_kept_until_there_is_a_new_judgement_of_its_version(tmp_path: Path) -> None:
    workspace, elsewhere = tmp_path / "w", tmp_path / "fetched"
    older = workspace / KEPT / f"{CONTENT}-{FIRST[:16]}"  # as older studios called it
    older.mkdir(parents=True)
    first, _ = kept_report(workspace, VERSION, CONTENT, FIRST, fetched(elsewhere, "first"))
    assert first and (first / "index.html").read_text() == "first" and not older.exists()
    assert kept_report(workspace, VERSION, CONTENT, FIRST, None) == (first, "")  # not fetched again
    other, _ = kept_report(workspace, "models:/mysks/2", "d" * 64, FIRST, fetched(elsewhere, "of another version"))
    second, _ = kept_report(workspace, VERSION, CONTENT, SECOND, fetched(elsewhere, "second"))
    assert second and (second / "index.html").read_text() == "second"
    assert other and set((workspace / KEPT).iterdir()) == {second, other}  # that of the earlier judgement is gone


def test_versions_of_equal_weights_keep_a_report_each(tmp_path: Path) -> None:
    workspace, elsewhere = tmp_path / "w", tmp_path / "fetched"
    one, _ = kept_report(workspace, VERSION, CONTENT, FIRST, fetched(elsewhere, "one"))
    for judged in (FIRST, SECOND):  # judged alike, and otherwise
        other, _ = kept_report(workspace, "models:/other/1", CONTENT, judged, fetched(elsewhere, "other"))
        assert one and other and one != other
        assert [(path / "index.html").read_text() for path in (one, other)] == ["one", "other"]


def test_a_report_whose_copy_is_cut_off_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_off(source: Path, target: Path, **_: Any) -> None:
        (target / "index.html").write_text("half")
        raise OSError("no space left on device")

    workspace, stored = tmp_path / "w", fetched(tmp_path / "fetched", "whole")
    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr(module.shutil, "copytree", cut_off)
        kept_report(workspace, VERSION, CONTENT, FIRST, stored)
    kept, _ = kept_report(workspace, VERSION, CONTENT, FIRST, stored)
    assert kept and (kept / REPORT_GRID.name).read_text() == (kept / "index.html").read_text() == "whole"


def test_a_version_without_a_report_says_why(tmp_path: Path) -> None:
    def away() -> Path:
        raise ArtifactsAway("no such host")

    def asked(report: Callable[[], Path | None], content: str = CONTENT) -> tuple[Path | None, str]:
        return kept_report(tmp_path, VERSION, content, FIRST, cast(Stored, SimpleNamespace(report=report)))

    assert asked(away) == (None, "no such host")
    assert asked(lambda: None) == (None, "")  # the registry keeps none
    assert asked(lambda: tmp_path) == (None, "its report is incomplete: grid.png is not in it")
    assert asked(away, "../../etc") == (None, "its record names no digest of its weights")


@pytest.mark.parametrize(
    ("kept", "judged", "said"),
    [
        ((None, "no such host"), True, "the pictures of mysks version 1 cannot be shown: no such host"),
        ((None, ""), True, "the pictures of mysks version 1 cannot be shown: the registry keeps no report of it"),
        ((None, ""), False, "mysks version 1 was not judged, so it has no pictures"),
        ((Path("report"), ""), True, ""),
    ],
    ids=["away", "none kept", "not judged", "there"],
)
def test_what_keeps_pictures_from_being_shown_is_a_sentence_for_the_page(
    copy: Path, monkeypatch, kept: tuple[Path | None, str], judged: bool, said: str
) -> None:
    monkeypatch.setattr(module, "kept_report", lambda *_: kept)
    if not judged:
        monkeypatch.setattr(module, "recorded_evaluation", lambda _: None)
    assert version_files(copy, VERSION).without_report == said


def test_what_the_record_says_of_its_files_decides_which_report_is_shown(
    copy: Path, tmp_path: Path, monkeypatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(module, "kept_report", lambda *given: (asked.append(given[3]), ""))
    version_files(copy, "models:/mysks/1")
    version_files(copy, "models:/mysks/1")
    connect(copy).set_model_version_tag("mysks", "1", "record_files", '{"report_files.json": "0"}')
    version_files(copy, "models:/mysks/1")
    assert asked[0] == asked[1] != asked[2]


def test_prompts_are_those_that_were_judged_last_and_not_those_of_the_training(copy: Path, monkeypatch) -> None:
    with find_record(copy, "models:/mysks/1") as found:
        judged = recorded_evaluation(found)
    assert judged is not None
    judged["suite"]["prompts"] = [{**judged["suite"]["prompts"][0], "text": "a photo of mysks on the moon"}]
    monkeypatch.setattr(module, "recorded_evaluation", lambda _: judged)
    assert list(version_files(copy, "models:/mysks/1").prompts.values()) == ["a photo of mysks on the moon"]


@pytest.mark.parametrize("content", ["{", '{"gates": []}'])
def test_a_damaged_evaluation_is_a_sentence_for_the_page(tmp_path: Path, monkeypatch, content: str) -> None:
    (tmp_path / "evaluation.json").write_text(content)
    found = Found("mysks version 1", {}, files=tmp_path)
    monkeypatch.setattr(module, "find_record", lambda *_: nullcontext(found))
    with pytest.raises(UnknownVersion, match="the evaluation of mysks version 1"):
        version_files(tmp_path, "models:/mysks/1")
