"""`dvc repro` and the flow do the same work: real DVC, real Prefect, the tiny base."""

import logging
from pathlib import Path

import pytest
import yaml

from pipeline import layout
from pipeline.files import read_json
from tests.workspace import dvc, equip

pytestmark = pytest.mark.usefixtures("quick_stages")


def executed(output: str) -> list[str]:
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]


@pytest.fixture
def workspace(project) -> Path:
    """A project with its own git and DVC, the package linked in as source."""
    return equip(project())


def change(workspace: Path, section: str, **values) -> None:
    params = yaml.safe_load((workspace / "params.yaml").read_text())
    params[section] |= values
    (workspace / "params.yaml").write_text(yaml.safe_dump(params))


@pytest.mark.slow
def test_dvc_repro_runs_what_changed_and_nothing_else(workspace: Path) -> None:
    every = ["inputs", "prepare", "prior", "train", "select", "tune", "sample", "evaluate", "register"]
    assert executed(dvc(workspace, "repro", quick=False)) == every  # each stage by a Python of its own
    assert executed(dvc(workspace, "repro")) == []
    change(workspace, "evaluate", bootstrap=60)
    assert executed(dvc(workspace, "repro")) == ["select", "tune", "evaluate", "register"]
    change(workspace, "train", steps=3)
    assert executed(dvc(workspace, "repro")) == ["train", "select", "tune", "sample", "evaluate", "register"]
    change(workspace, "train", steps=4)
    dvc(workspace, "repro")
    assert read_json(workspace / layout.REGISTRATION)["version"] == "1"
    params = yaml.safe_load((workspace / "params.yaml").read_text())
    params["sample"]["draw"]["batch"] = 5
    (workspace / "params.yaml").write_text(yaml.safe_dump(params))
    assert executed(dvc(workspace, "repro")) == ["register"]


@pytest.mark.slow
def test_the_flow_runs_all_stages_then_shows_them_cached_and_notices_new_photos(
    workspace: Path, prefect, monkeypatch
) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.sorting import FlowRunSort, TaskRunSort

    from flows.fine_tune import fine_tune

    def states() -> dict[str, str]:
        with get_client(sync_client=True) as client:
            (newest, *_) = client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC)
            runs = client.read_task_runs(sort=TaskRunSort.END_TIME_DESC)
        return {run.name: run.state_name for run in runs if run.flow_run_id == newest.id}

    registration = fine_tune(workspace)
    assert registration == read_json(workspace / layout.REGISTRATION)
    assert states()["train"] == "Completed"

    assert fine_tune(workspace) == registration
    assert {name: state for name, state in states().items() if "confirm" not in name} == dict.fromkeys(
        ["data.dvc", "inputs", "prepare", "prior", "train", "select", "tune", "sample", "evaluate", "register"],
        "Cached",
    )

    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workspace}/other.db")
        again = fine_tune(workspace)
    assert again["content_digest"] == registration["content_digest"]
    assert again["run_id"] != registration["run_id"]

    before = (workspace / "data.dvc").read_text()
    path = workspace / "data" / "metadata.jsonl"
    path.write_text(path.read_text().replace(", 0", ", in a box").replace(", 2", ", on a chair"))
    assert fine_tune(workspace)["version"] == "2"
    assert (workspace / "data.dvc").read_text() != before
    assert (
        read_json(workspace / layout.MODEL / "lineage.json")["photos"]["tracked_md5"]
        in (workspace / "data.dvc").read_text()
    )


def test_a_failing_stage_tells_its_problems_once_and_nothing_else(
    workspace: Path, prefect, capfd, caplog, monkeypatch
) -> None:
    from flows.fine_tune import fine_tune
    from flows.stage_task import StageFailed

    (workspace / "data" / "junk.bin").write_bytes(b"junk")
    (workspace / "data" / "photo1.jpg").write_bytes(b"")
    kept: list[logging.LogRecord] = []
    logger = logging.getLogger("prefect.task_runs")
    monkeypatch.setattr(logger, "filters", [*logger.filters, lambda record: kept.append(record) or True])
    with pytest.raises(StageFailed, match=r"junk\.bin: is not a picture") as caught:
        fine_tune(workspace)
    assert (caught.value.status, caught.value.again) == (1, False)
    assert str(caught.value).splitlines()[:2] == ["stage prepare failed:", "error: data has 2 problems:"]
    printed, logged = capfd.readouterr()
    # Prefect's handler writes to the stderr of the test that set it up; in the others pytest has its records.
    logged = logged or "\n".join(record.getMessage() for record in caplog.records)
    for output in (printed, logged):
        for words in ("junk.bin: is not a picture", "photo1.jpg: is empty", "data has 2 problems"):
            assert output.count(words) == 1, output
        for noise in ("Traceback", "git add", "auto staging", "dvc push", "failed to reproduce"):
            assert noise not in output, output
    levels = {record.getMessage().partition(" is ")[0]: record.levelname for record in kept}
    assert levels["error: data has 2 problems:"] == levels["junk.bin:"] == levels["photo1.jpg:"] == "ERROR"
    assert levels["> python -m pipeline.stages.prepare"] == "INFO"
