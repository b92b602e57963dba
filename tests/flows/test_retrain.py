"""Photos that change bring a new version, photos that do not bring none; promotion is asked for, not assumed."""

from pathlib import Path

from flows.retrain import retrain
from pipeline.registry.aliases import champion_of
from pipeline.registry.store import connect
from tests.tiny import picture


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


def test_a_source_without_photos_is_refused(source: Path, tmp_path: Path, prefect) -> None:
    (tmp_path / "empty").mkdir()
    state = retrain(str(tmp_path / "empty"), source=source, return_state=True)
    assert state.is_failed()
    assert "there is no photo in" in str(state.message)
    assert not (source / ".dreamtrace" / "runs").exists()
