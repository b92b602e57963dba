"""One version per content: two at once, cut off at any write, and a second training with the same result."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from flows.artifacts import summary
from pipeline.commands.run import _show_result
from pipeline.files import digest_file, read_json
from pipeline.layout import EVALUATION, MODEL, PARAMS, REGISTRATION
from pipeline.lineage.deleted import DELETED
from pipeline.lineage.links import verdict
from pipeline.lineage.tags import WITHDRAWN
from pipeline.lineage.verify import verify
from pipeline.params import load_params
from pipeline.registry import logged_model
from pipeline.registry import versions as registered_versions
from pipeline.registry.lookup import find_record
from pipeline.registry.store import StoreError, connect
from pipeline.runs import status
from pipeline.stages import register
from tests.registry.killed_writes import killed_before_write
from tests.workspace import copy_of

WRITES = (
    "create_registered_model", "log_artifact", "log_artifacts", "create_model_version", "set_model_version_tag",
    "update_model_version", "set_registered_model_alias", "log_metric",
)  # fmt: skip


@pytest.fixture
def unregistered(copy: Path) -> Path:
    """A workspace whose stages have all run, and a registry that has lost the model."""
    connect(copy).delete_registered_model("mysks")
    return copy


def versions(workspace: Path) -> list[str]:
    client = connect(workspace)
    return [str(found.version) for found in client.search_model_versions("name = 'mysks'")]


def state(workspace: Path) -> str:
    with find_record(workspace, "models:/mysks/1") as found:
        links = verify(found.lineage, found.evidence(workspace))
    assert [link for link in links if link.state != "verified"] == []
    return verdict(links)


def test_two_at_once_make_one_version(unregistered: Path, tmp_path: Path) -> None:
    second = copy_of(unregistered, tmp_path / "second")
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{unregistered / 'mlflow.db'}"}
    both = [
        subprocess.Popen([sys.executable, "-m", "pipeline.stages.register"], cwd=folder, env=environment)
        for folder in (unregistered, second)
    ]
    assert [process.wait() for process in both] == [0, 0]
    assert versions(unregistered) == ["1"]
    assert read_json(second / REGISTRATION) == read_json(unregistered / REGISTRATION)
    assert state(unregistered) == "verified"
    names = [model.name for model in connect(unregistered).search_registered_models()]
    assert names == ["mysks"]  # no lock is left


@pytest.mark.parametrize("cut", [3, 6, 8, 11, 15])
def test_cut_off_at_any_write_there_is_no_half_version(
    unregistered: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    params = load_params(unregistered / PARAMS)
    with killed_before_write(monkeypatch, cut, WRITES):
        register.run(unregistered, params)
    if versions(unregistered):
        tags = connect(unregistered).get_model_version("mysks", "1").tags
        assert {"content_digest", "record_digest", "photos", "validation_status"} <= tags.keys()
    register.run(unregistered, params)
    assert versions(unregistered) == ["1"]
    assert state(unregistered) == "verified"


def test_a_second_training_of_the_same_content_leaves_the_record_as_it_was(copy: Path) -> None:
    path = copy / MODEL / "lineage.json"
    record = json.loads(path.read_text())
    record["code"]["commit"] = "0123456789" * 4
    path.chmod(0o644)
    path.write_text(json.dumps(record))
    before = connect(copy).get_model_version("mysks", "1").tags
    register.run(copy, load_params(copy / PARAMS))
    assert versions(copy) == ["1"]
    assert "0123456789" not in connect(copy).get_model_version("mysks", "1").description
    assert connect(copy).get_model_version("mysks", "1").tags["record_files"] == before["record_files"]
    assert state(copy) == "verified"


def test_a_new_judgement_leaves_nothing_of_the_earlier_report(copy: Path) -> None:
    there = read_json(copy / REGISTRATION)
    (copy / "old-1.png").write_bytes(b"a picture of a prompt that is in the suite no more")
    place = f"{registered_versions.report_folder(there['content_digest'])}/tuned"
    connect(copy).log_artifact(there["run_id"], str(copy / "old-1.png"), place)
    with find_record(copy, "models:/mysks/1") as found:
        assert verdict(verify(found.lineage, found.evidence(copy))) == "broken"
    register.run(copy, load_params(copy / PARAMS))
    assert state(copy) == "verified"


def recorded(workspace: Path) -> dict[str, str]:
    return json.loads(connect(workspace).get_model_version("mysks", "1").tags["record_files"])


def log_to_record(workspace: Path, name: str, content: str) -> None:
    there = read_json(workspace / REGISTRATION)
    (workspace / name).write_text(content)
    place = registered_versions.record_folder(there["content_digest"])
    connect(workspace).log_artifact(there["run_id"], str(workspace / name), place)


def test_what_a_registration_sent_before_it_was_cut_off_is_no_addition_to_the_record_of_the_next(copy: Path) -> None:
    for name in ("search.json", "recipe.json", "search-0123456789abcdef.json"):
        log_to_record(copy, name, "{}")  # of a search that params.yaml asks for no more
    register.run(copy, load_params(copy / PARAMS))
    assert state(copy) == "verified"


def test_a_search_that_a_registration_replaced_before_it_was_cut_off_leaves_the_record_and_earlier_ones_stay(
    copy: Path,
) -> None:
    client, own = connect(copy), ("search.json", "recipe.json", "search-0123456789abcdef.json")
    for name in own:
        log_to_record(copy, name, "{}")
    listed = recorded(copy)
    listed |= {name: digest_file(copy / name) for name in own}
    client.set_model_version_tag("mysks", "1", "record_files", json.dumps(listed))
    register.run(copy, load_params(copy / PARAMS))
    assert {name: recorded(copy)[name] for name in own} == {name: listed[name] for name in own}
    assert state(copy) == "verified"
    log_to_record(copy, "search.json", "of a later search")
    register.run(copy, load_params(copy / PARAMS))
    assert state(copy) == "verified"
    assert recorded(copy).keys() == listed.keys() - {"search.json"}


def register_of_another_commit(copy: Path) -> None:
    """Register the same content as that of a training by other code."""
    path = copy / MODEL / "lineage.json"
    record = json.loads(path.read_text())
    record["code"]["commit"] = "0123456789" * 4
    path.chmod(0o644)
    path.write_text(json.dumps(record))
    register.run(copy, load_params(copy / PARAMS))


def test_a_version_that_was_cut_off_before_it_listed_its_record_keeps_it_when_another_training_ends_in_its_content(
    copy: Path,
) -> None:
    connect(copy).delete_model_version_tag("mysks", "1", "record_files")
    register_of_another_commit(copy)
    assert state(copy) == "verified"


@pytest.mark.parametrize("cut", [3, 5])
def test_files_of_the_same_record_that_a_cut_off_registration_sent_are_taken_in_by_the_next_one(
    copy: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    written = (copy / PARAMS).read_text()
    (copy / PARAMS).write_text(written + "\n# of another run\n")
    with killed_before_write(monkeypatch, cut, ("log_artifact", "log_artifacts")):
        register.run(copy, load_params(copy / PARAMS))
    (copy / PARAMS).write_text(written)
    register_of_another_commit(copy)
    assert state(copy) == "verified"


def register_as(copy: Path, model: str) -> None:
    """Register the workspace's model under a name."""
    values = yaml.safe_load((copy / PARAMS).read_text())
    values["register"]["model"] = model
    (copy / PARAMS).write_text(yaml.safe_dump(values))
    register.run(copy, load_params(copy / PARAMS))


def test_a_version_under_another_name_lists_the_searches_of_the_first_one_too(copy: Path) -> None:
    client, name = connect(copy), "search-0123456789abcdef.json"
    log_to_record(copy, name, "{}")
    listed = recorded(copy)
    client.set_model_version_tag("mysks", "1", "record_files", json.dumps({**listed, name: digest_file(copy / name)}))
    register_as(copy, "bear")
    for ref in ("models:/mysks/1", "models:/bear/1"):
        with find_record(copy, ref) as found:
            assert name in json.loads((found.tags or {})["record_files"])
            assert verdict(verify(found.lineage, found.evidence(copy))) == "verified", ref


def test_under_another_name_the_first_version_stays_true(copy: Path) -> None:
    register_as(copy, "bear")
    for ref in ("models:/mysks/1", "models:/bear/1"):
        with find_record(copy, ref) as found:
            links = verify(found.lineage, found.evidence(copy))
        assert [link for link in links if link.state != "verified"] == [], ref


def test_a_withdrawn_version_gets_no_alias_again_and_none_is_announced(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = connect(copy)
    client.set_model_version_tag("mysks", "1", "withdrawn", "photo 3")
    client.delete_registered_model_alias("mysks", "challenger")
    register.run(copy, load_params(copy / PARAMS))
    assert client.get_registered_model("mysks").aliases == {}
    written = read_json(copy / REGISTRATION)
    assert (written["alias"], written["withdrawn"]) == (None, True)
    _show_result(copy, written)
    page, shown = summary(written, read_json(copy / EVALUATION), {}), capsys.readouterr().out
    assert all("withdrawn" in said and "(challenger)" not in said for said in (page, shown))
    assert "alias challenger." not in shown and "dreamtrace promote" not in page
    assert not any("dreamtrace promote" in step for step in status._next(copy, status.Status()))


@pytest.mark.parametrize("tag", [DELETED, WITHDRAWN])
def test_a_version_whose_base_went_while_it_was_trained_says_so(
    copy: Path, capsys: pytest.CaptureFixture[str], tag: str
) -> None:
    client, digest = connect(copy), read_json(copy / MODEL / "lineage.json")["base"]["digest"]
    client.create_registered_model("elk")
    client.create_model_version("elk", str(copy), tags={"content_digest": digest, tag: "{}"})
    register.run(copy, load_params(copy / PARAMS))
    said = capsys.readouterr().out
    assert ("was trained on elk version 1, whose weights were deleted" in said) == (tag == DELETED)
    assert (client.get_model_version("mysks", "1").tags.get(WITHDRAWN) is not None) == (tag == WITHDRAWN)
    assert ("challenger" in client.get_registered_model("mysks").aliases) == (tag == DELETED)


def test_an_upload_that_was_given_up_is_swept_and_a_fresh_one_is_not(
    unregistered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, params = connect(unregistered), load_params(unregistered / PARAMS)

    def uploads() -> list[str]:
        experiments = [found.experiment_id for found in client.search_experiments()]
        return [logged.model_id for logged in client.search_logged_models(experiments)]

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    for logged in uploads():
        client.delete_logged_model(logged)
    with monkeypatch.context() as patch:
        patch.setattr(registered_versions, "_create", killed)
        with pytest.raises(KeyboardInterrupt):
            register.run(unregistered, params)
    (left,) = uploads()
    register.run(unregistered, params)
    assert left in uploads() and len(uploads()) == 2  # another process may still be at it
    connect(unregistered).delete_registered_model("mysks")
    monkeypatch.setattr(logged_model, "UNFINISHED_S", -60)
    register.run(unregistered, params)
    assert len(uploads()) == 1 and left not in uploads()
    assert state(unregistered) == "verified"


def test_a_version_whose_run_was_deleted_is_traced_and_the_way_back_is_named(copy: Path) -> None:
    client, params = connect(copy), load_params(copy / PARAMS)
    run = client.get_model_version("mysks", "1").run_id
    client.delete_run(run)
    with find_record(copy, "models:/mysks/1") as found:
        assert found.lineage["training"]["run_id"] == run
    with pytest.raises(StoreError, match="mlflow runs restore"):
        register.run(copy, params)
    client.restore_run(run)
    register.run(copy, params)
    assert (versions(copy), state(copy)) == (["1"], "verified")
