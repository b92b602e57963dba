"""Photos that change bring a new version, photos that do not bring none; promotion is asked for, not assumed."""

from pathlib import Path
from unittest.mock import Mock

import pytest

import flows.retrain as module
from flows.retrain import retrain, still_there
from pipeline.files import digest_file, write_json
from pipeline.layout import REGISTRATION
from pipeline.registry.aliases import champion_of
from pipeline.registry.lookup import find_record
from pipeline.registry.store import connect
from pipeline.runs.photo_sources import fetch_source
from pipeline.runs.workspaces import MARK, RUNS
from tests.tiny import make_photos, picture

pytestmark = pytest.mark.usefixtures("quick_stages")


@pytest.mark.slow
def test_only_new_photos_are_trained_on_and_gates_decide_about_promotion(
    source: Path, tmp_path: Path, prefect, bucket
) -> None:
    for path in (source / "data").iterdir():
        bucket.client.upload_file(str(path), bucket.name, f"photos/{path.name}")
    arriving = f"{bucket.url}/photos"

    first = retrain(arriving, source=source, return_state=True)
    assert (first.name, first.message) == ("Completed", "mysks version 1 is registered")
    again = retrain(arriving, source=source, return_state=True)
    assert again.name == "Unchanged"
    assert again.message == "mysks version 1 was trained on exactly these photos"
    assert len(connect(source).search_model_versions()) == 1

    changed = tmp_path / "photo0.jpg"
    picture(77).save(changed, quality=95)
    bucket.client.upload_file(str(changed), bucket.name, "photos/photo0.jpg")
    third = retrain(arriving, auto_promote=True, source=source, return_state=True)
    assert third.name == "NotPromoted"
    assert "the gates" in str(third.message)  # random weights pass none
    versions = {str(version.version): version for version in connect(source).search_model_versions()}
    assert set(versions) == {"1", "2"}
    assert versions["1"].tags["dataset_md5"] != versions["2"].tags["dataset_md5"]
    assert champion_of(connect(source), "mysks") is None
    first_held, second_held = (held_out(source, version) for version in ("1", "2"))
    assert first_held and first_held <= second_held  # a change of photos moves no photo into training


@pytest.mark.parametrize(
    ("kept", "version", "auto_promote", "done", "name"),
    [
        (None, None, True, [], "Unchanged"),  # another run made it
        (False, "1", False, ["trained"], "Completed"),  # made, and not saved: the DVC remote was away
        (False, "1", True, ["trained", "promoted"], "Completed"),
        (False, None, False, ["trained"], "Completed"),  # ended while it was registered
        (True, "1", True, ["promoted"], "Completed"),  # saved, and not promoted: MLflow or S3 was away
        (True, "1", False, [], "Unchanged"),
        (True, "0", True, [], "Unchanged"),  # the version with these photos is a later run's
    ],
)
def test_a_retry_does_what_the_first_try_left_undone(
    source: Path,
    prefect,
    monkeypatch,
    kept: bool | None,
    version: str | None,
    auto_promote: bool,
    done: list,
    name: str,
) -> None:
    did: list[str] = []
    made = {"model": "mysks", "version": "1"}
    monkeypatch.setattr(module, "run_name", lambda *_: "ours")
    monkeypatch.setattr(module, "trained_on", lambda *_: "1")
    monkeypatch.setattr(module, "held_before", lambda *_: [])
    monkeypatch.setattr(module, "fine_tune_isolated", lambda *_: did.append("trained") or made)
    monkeypatch.setattr(module, "promote", lambda *_, **__: did.append("promoted") or "it is the champion")
    if kept is not None:
        write_json(source / RUNS / "ours" / MARK, {"kept": kept})
    if version is not None:
        write_json(source / RUNS / "ours" / REGISTRATION, {**made, "version": version})
    state = retrain(str(source / "data"), auto_promote=auto_promote, source=source, return_state=True)
    assert (did, state.name) == (done, name)


def held_out(source: Path, version: str) -> set[str]:
    with find_record(source, f"models:/mysks/{version}") as record:
        return {photo["source"] for photo in record.lineage["photos"]["files"] if photo["split"] == "heldout"}


def test_photos_that_were_held_out_are_found_by_content_or_name(tmp_path: Path) -> None:
    make_photos(tmp_path, 4)
    rows = [
        {"source": "photo0.jpg", "sha256": "0" * 64, "split": "heldout"},
        {"source": "old name.jpg", "sha256": digest_file(tmp_path / "photo1.jpg"), "split": "heldout"},
        {"source": "gone.jpg", "sha256": "1" * 64, "split": "heldout"},
        {"source": "photo2.jpg", "sha256": digest_file(tmp_path / "photo2.jpg"), "split": "train"},
    ]
    assert still_there(rows, tmp_path) == ["photo0.jpg", "photo1.jpg"]


def test_a_source_without_photos_is_refused_and_not_tried_again(
    source: Path, tmp_path: Path, prefect, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    looked = Mock(side_effect=fetch_source)
    monkeypatch.setattr("flows.retrain.fetch_source", looked)
    state = retrain(str(tmp_path / "empty"), source=source, return_state=True)
    assert state.is_failed()
    assert "there is no photo in" in str(state.message)
    assert looked.call_count == 1  # the next try would find none either
    assert not (source / ".dreamtrace" / "runs").exists()
