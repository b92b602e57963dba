"""What a run is said to write, against what runs wrote."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.disk import stored
from pipeline.files import write_json
from pipeline.layout import LINEAGE, TRAINED_MODEL
from pipeline.params import Params, load_params
from pipeline.registry.store import connect, experiment_id
from pipeline.runs.checks import check_run
from pipeline.runs.costs import base_folder
from pipeline.runs.disk import _most, disk_needed, disk_sentence


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "DREAMTRACE_ARTIFACT_ROOT"):
        monkeypatch.delenv(name, raising=False)


def test_a_whole_run_writes_what_was_said_before(origin: Path, tmp_path: Path) -> None:
    needed = disk_needed(tmp_path, load_params(origin / "params.yaml"))
    assert needed is not None
    wrote = {
        "workspace": stored(origin / "artifacts"),
        "cache": stored(origin / ".dvc" / "cache"),
        "registry": stored(origin / "mlartifacts"),
    }
    said = {name: getattr(needed, name) for name in wrote}
    assert said == pytest.approx(wrote, rel=0.1)


@pytest.mark.parametrize("method", ["dreambooth", "dreambooth-lora", "textual-inversion"])
def test_a_run_is_refused_exactly_where_it_would_fill_the_disk(
    project: Callable[..., Path], values: dict[str, Any], monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    workspace, params = project(), Params.model_validate({**values, "train": {**values["train"], "method": method}})
    needed = disk_needed(workspace, params)
    assert needed is not None
    for free, problems in ((needed.peak, 0), (needed.peak - 1, 1)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: shutil._ntuple_diskusage(1 << 62, 0, free))
        assert len([line for line in check_run(workspace, params) if "on disk" in line]) == problems
    assert needed.peak < _most(base_folder(params), params.train)  # a shortcut that must never let such a run pass


def test_what_is_there_already_is_not_needed_again(
    project: Callable[..., Path], values: dict[str, Any], tmp_path: Path
) -> None:
    workspace, params = project(), Params.model_validate(values)
    first = disk_needed(workspace, params)
    write_json(workspace / TRAINED_MODEL / LINEAGE, {"params": values})
    (workspace / TRAINED_MODEL / "weights").write_bytes(bytes(1000))
    again = disk_needed(workspace, params)
    assert first is not None and again is not None
    assert again.cache < first.cache and again.registry < first.registry  # frozen files are there
    assert first.workspace - again.workspace == (workspace / TRAINED_MODEL / LINEAGE).stat().st_size + 1000


def test_links_and_a_registry_elsewhere_take_nothing_here(
    project: Callable[..., Path], values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, params = project(), Params.model_validate(values)
    (workspace / ".dvc").mkdir()
    (workspace / ".dvc" / "config").write_text("[cache]\n    type = reflink,hardlink,copy\n")
    assert disk_needed(workspace, params).workspace > 0
    (workspace / ".dvc" / "config.local").write_text("[cache]\n    type = hardlink\n")
    before = disk_needed(workspace, params)
    experiment_id(connect(workspace), params.register_.experiment, workspace)
    monkeypatch.setenv("DREAMTRACE_ARTIFACT_ROOT", "s3://bucket/mlflow")  # which that experiment does not take
    assert disk_needed(workspace, params).registry == before.registry > 0
    assert disk_needed(workspace / "data", params).registry == 0
    monkeypatch.setenv("DREAMTRACE_ARTIFACT_ROOT", "elsewhere")  # on the same disk
    assert disk_needed(workspace / "data", params).registry > 0
    monkeypatch.delenv("DREAMTRACE_ARTIFACT_ROOT")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    needed = disk_needed(workspace, params)
    assert needed.workspace == needed.registry == 0 < needed.cache
    assert "afterwards" in disk_sentence(workspace, params) and "registry" not in disk_sentence(workspace, params)


def test_while_dvc_takes_many_candidates_in_they_are_there_three_times(
    project: Callable[..., Path], values: dict[str, Any]
) -> None:
    values["train"] |= {"steps": 40}
    for every, count in ((0, 0), (1, 39)):
        values["train"]["save_every"] = every
        needed = disk_needed(project(), Params.model_validate(values))
        assert needed is not None
        if not count:
            without = needed
    learned = needed.training - without.training  # forty candidates, that of the last step among them
    assert needed.taking_in - without.taking_in == pytest.approx(learned / 40 * (3 * count + 1))
    assert needed.peak == needed.taking_in > needed.training
