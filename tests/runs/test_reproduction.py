"""A model made again from git, the DVC remote and the registry alone."""

import io
import shutil
from pathlib import Path

import pytest
import yaml

from pipeline.commands import reproduce as command
from pipeline.errors import UserError
from pipeline.files import write_json
from pipeline.layout import WORDINGS
from pipeline.lineage.read import read_lineage
from pipeline.params import Writer
from pipeline.registry.found import Found
from pipeline.registry.store import connect, experiment_id
from pipeline.runs import recorded_workspace, reproduction
from pipeline.runs.recorded_workspace import CannotRebuild, rebuild_workspace
from pipeline.runs.reproduction import (
    NotConfirmed,
    compare_figures,
    differences,
    keep_wordings,
    reproduce_model,
    training_differences,
)
from pipeline.tuning.writer import wordings_of
from tests.workspace import dvc, git, make_workspace, tiny_values

pytestmark = pytest.mark.usefixtures("quick_stages")

MODEL = Path("artifacts/selected/model")


@pytest.mark.slow
def test_the_original_workspace_is_gone_and_the_weights_come_out_the_same(
    tiny_base: Path, tiny_scorer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'registry.db'}")
    client = connect(tmp_path)
    client.create_experiment("mysks", artifact_location=(tmp_path / "stored").as_uri())
    original = make_workspace(tmp_path / "original", tiny_values(tiny_base, tiny_scorer))
    dvc(original, "remote", "add", "-q", "-f", "-d", "team", str(tmp_path / "team"))
    git(original, "commit", "-qam", "a remote for all")
    params = yaml.safe_load((original / "params.yaml").read_text())
    params["train"]["seed"] = 7  # never committed: it is in the record's patch
    (original / "params.yaml").write_text(yaml.safe_dump(params))
    dvc(original, "repro", "-q")
    dvc(original, "push", "-q", "data.dvc")
    git(tmp_path, "clone", "-q", "--bare", str(original), "hub.git")
    shutil.rmtree(original)

    git(tmp_path, "clone", "-q", str(tmp_path / "hub.git"), "fresh")
    fresh = tmp_path / "fresh"
    done = reproduce_model(fresh, "models:/mysks@challenger", tmp_path / "again")
    assert done.outcome == "identical"
    assert "the weights are bit for bit those on record" in done.sentence
    assert read_lineage(tmp_path / "again" / MODEL)["params"]["train"]["seed"] == 7
    assert len(connect(fresh).search_model_versions()) == 1  # nothing was added to the registry
    assert len(client.search_runs([client.get_experiment_by_name("mysks").experiment_id])) == 1


def test_a_search_made_again_has_the_wordings_on_record_and_asks_no_language_model(copy: Path, tmp_path: Path) -> None:
    lineage = read_lineage(copy / MODEL)
    writer = {"address": "http://127.0.0.1:1/v1", "model": "small", "wordings": 2}
    params = {**lineage["params"], "tune": {**lineage["params"]["tune"], "parts": ["wording"], "writer": writer}}
    write_json(tmp_path / "search.json", {"writer": {"answer": '["a sharp {prompt}"]'}})
    keep_wordings(Found("it", {**lineage, "params": params}, {}, files=tmp_path), tmp_path / "again")
    noun = lineage["params"]["subject"]["class_noun"]
    assert wordings_of(Writer(**writer), noun, tmp_path / "again" / WORDINGS).templates == ["a sharp {prompt}"]
    keep_wordings(Found("it", lineage, {}, files=copy), tmp_path / "without")
    assert not (tmp_path / "without").exists()


def test_files_of_a_reproduction_go_into_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://127.0.0.1:9")
    for name in ("DREAMTRACE_ARTIFACT_ROOT", "MLFLOW_ARTIFACTS_DESTINATION"):
        monkeypatch.setenv(name, "s3://team/mlflow")
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"train": {}}}))
    places = []

    def stage(name: str, workspace: Path, given: dict[str, str]) -> list[int]:
        with monkeypatch.context() as context:
            for variable, value in given.items():
                context.setenv(variable, value)
            client = connect(workspace)
            places.append(client.get_experiment(experiment_id(client, "mysks", workspace)).artifact_location)
        return [0]

    monkeypatch.setattr(reproduction, "reproduce", stage)
    reproduction._run(("train",), tmp_path)
    assert places == [(tmp_path / "mlartifacts").as_uri()]


def test_what_is_missing_or_damaged_is_named_before_anything_runs(copy: Path, tmp_path: Path) -> None:
    lineage = read_lineage(copy / MODEL)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "file").touch()
    with pytest.raises(CannotRebuild, match="is something else"):
        rebuild_workspace(copy, lineage, mine)
    gone = {**lineage, "code": {**lineage["code"], "commit": "0" * 40}}
    with pytest.raises(CannotRebuild, match="is not in this repository"):
        rebuild_workspace(copy, gone, tmp_path / "a")
    for store in (copy / "remote", copy / ".dvc" / "cache"):
        shutil.rmtree(store)
    with pytest.raises(CannotRebuild, match="neither in DVC's cache nor in its remote"):
        rebuild_workspace(copy, lineage, tmp_path / "a")
    assert not (tmp_path / "a").exists()
    with pytest.raises(UserError):
        reproduce_model(copy, "models:/mysks/9", None)


def evaluation(*values: float) -> dict:
    rows = [
        {"metric": f"m{at}", "model": "tuned", "group": "all", "value": value, "low": value - 0.1, "high": value + 0.1}
        for at, value in enumerate(values)
    ]
    return {"suite": {"digest": "s"}, "metrics": rows}


def test_other_weights_are_equivalent_only_within_every_interval() -> None:
    assert compare_figures(evaluation(0.5, 0.7), evaluation(0.55, 0.65), []).outcome == "equivalent"
    off = compare_figures(evaluation(0.5, 0.7), evaluation(0.55, 0.5), ["weights: a, b"])
    assert (off.outcome, len(off.details)) == ("different", 2)
    assert "m1 (tuned): recorded 0.7000 (0.6000 to 0.8000), now 0.5000" in off.details
    assert compare_figures(evaluation(0.5, 0.7), evaluation(0.5), []).outcome == "different"
    assert compare_figures(evaluation(), evaluation(0.5), []).outcome == "different"
    assert compare_figures(None, evaluation(0.5), []).outcome == "different"
    assert compare_figures(evaluation(0.5), {**evaluation(0.5), "suite": {"digest": "t"}}, []).outcome == "different"


def certain(*values: float) -> dict:
    """As older versions wrote shares: bounds of no width."""
    found = evaluation(*values)
    found["metrics"] = [row | {"low": row["value"], "high": row["value"]} for row in found["metrics"]]
    return found


def test_a_recorded_figure_without_a_known_interval_shows_no_difference_by_itself() -> None:
    recorded = certain(1.0, 0.5)
    recorded["metrics"][1] |= {"low": 0.4, "high": 0.6}
    off = compare_figures(recorded, evaluation(0.98, 0.55), [])
    assert off.outcome == "equivalent" and "of 1 other no interval is known" in off.sentence
    assert off.details == ["m0 (tuned): recorded 1.0000 (no interval known), now 0.9800"]
    same = compare_figures(recorded, evaluation(1.0, 0.55), [])
    assert (same.outcome, same.details) == ("equivalent", [])
    assert compare_figures(recorded, evaluation(0.98, 0.7), []).outcome == "different"
    nothing = compare_figures(certain(1.0, 0.5), evaluation(0.9, 0.4), [])
    assert nothing.outcome == "different" and "no interval is known" in nothing.sentence
    one_prompt = evaluation(0.5)
    one_prompt["metrics"][0]["prompts"] = 1
    assert compare_figures(one_prompt, evaluation(0.55), []).details


def test_differences_of_environments() -> None:
    first = {"python": "3.11", "libraries": {"torch": "2.11", "numpy": "2"}}
    assert differences(first, {"python": "3.11", "libraries": {"torch": "2.13", "numpy": "2"}}) == [
        "environment: libraries: torch was 2.11, is 2.13"
    ]


def test_a_training_on_another_device_or_on_several_is_named() -> None:
    recorded = {"device": "cuda", "resumed_with": [{"from_step": 100, "device": "cpu"}]}
    assert training_differences(recorded, {"device": "cpu"}) == [
        "the recorded training began on cuda, this one on cpu",
        "the recorded training went on with other code, libraries, hardware or device 1 time",
    ]
    assert training_differences({"device": "cpu"}, {"device": "cpu"}) == []


@pytest.mark.parametrize("name", ["../outside.jpg", "/tmp/outside.jpg", "a/../../outside.jpg", "link/outside.jpg"])
def test_names_of_a_record_lead_nowhere_else(tmp_path: Path, name: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link").symlink_to(tmp_path)
    with pytest.raises(CannotRebuild, match="leads out of"):
        recorded_workspace._inside(tmp_path / "data", tmp_path / "data" / name)
    assert recorded_workspace._inside(tmp_path / "data", tmp_path / "data" / "masks" / "a.png")


def test_a_folder_of_photos_that_is_a_link_is_refused(copy: Path, tmp_path: Path) -> None:
    lineage = read_lineage(copy / MODEL)
    (tmp_path / "elsewhere").mkdir()
    (copy / ".gitignore").write_text((copy / ".gitignore").read_text().replace("/data\n", ""))
    shutil.rmtree(copy / "data")
    (copy / "data").symlink_to(tmp_path / "elsewhere")
    git(copy, "add", "data")
    git(copy, "commit", "-qm", "photos lead elsewhere")
    commit = git(copy, "rev-parse", "HEAD").strip()
    lineage["code"] |= {"commit": commit}
    with pytest.raises(CannotRebuild, match="leads out of"):
        rebuild_workspace(copy, lineage, tmp_path / "again")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_the_base_is_rebuilt_from_the_commit_on_record() -> None:
    record = {"params": {"base": {"model": "a/b", "revision": None}}, "base": {"revision": "c" * 40}}
    assert recorded_workspace._pinned(record)["base"] == {"model": "a/b", "revision": "c" * 40}
    record["base"]["revision"] = None
    assert recorded_workspace._pinned(record) == record["params"]


def test_the_patch_of_a_record_from_elsewhere_runs_only_if_somebody_agrees(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    path = copy / MODEL / "lineage.json"
    lineage = read_lineage(copy / MODEL)
    lineage["code"]["patch"] = "+print(1)\x1b[2Kx"
    path.chmod(0o644)
    write_json(path, lineage)
    monkeypatch.chdir(copy)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(NotConfirmed):
        command.reproduce(str(copy / MODEL), tmp_path / "again")
    said = capsys.readouterr().out
    assert "+print(1)" in said and "\x1b" not in said and "--yes" in said
    assert not (tmp_path / "again").exists()
    with pytest.raises(CannotRebuild, match="does not fit"):  # asked no more; the patch of this test is none
        command.reproduce(str(copy / MODEL), tmp_path / "again", yes=True)
