"""A grid of settings: each trained with every seed, ranked in one table; one that cannot work is refused at once."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.logging import disable_run_logger

import flows.compare as module
from flows.compare import compare
from pipeline.files import read_json, write_json, write_jsonl
from pipeline.layout import EVALUATION, SAMPLES, SAMPLES_INDEX
from pipeline.registry.store import connect
from pipeline.runs.workspaces import RUNS
from tests.evaluation.test_ranking import judged
from tests.tiny import picture
from tests.workspace import dvc, git

pytestmark = pytest.mark.usefixtures("quick_stages")


@pytest.mark.live
def test_every_setting_is_trained_with_every_seed_and_ranked(source: Path, prefect) -> None:
    from prefect.client.orchestration import get_client

    grid = {"train.method": ["dreambooth", "textual-inversion"]}
    state = compare(grid, seeds=(1, 2), name="methods", source=source, return_state=True)
    assert state.is_completed()
    ranking = read_json(source / ".dreamtrace" / "comparisons" / "methods" / "ranking.json")
    assert state.message == ranking["sentence"]
    assert {row["setting"] for row in ranking["rows"]} == {"method dreambooth", "method textual-inversion"}
    assert [row["trainings"] for row in ranking["rows"]] == [2, 2]
    assert (source / ".dreamtrace" / "comparisons" / "methods" / "pictures.png").is_file()
    names = dvc(source, "exp", "list", "--name-only").split()
    assert {f"methods-{cell}-{seed}" for cell in (1, 2) for seed in (1, 2)} <= set(names)
    aliases = connect(source).get_registered_model("mysks").aliases
    assert set(aliases) == {"compared"}  # a comparison makes nobody the challenger
    with get_client(sync_client=True) as client:
        artifacts = {artifact.key: artifact for artifact in client.read_artifacts()}
    assert {"settings", "settings-pictures", "comparison"} <= set(artifacts)
    assert "textual-inversion, seed 2: mysks" in str(artifacts["comparison"].data)


def test_a_retry_trains_what_is_missing_and_nothing_else(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained, commits, broken = [], set(), [True]

    def train(*given: Any, **_: Any) -> SimpleNamespace:
        run, at = given[4], given[5]
        trained.append(run)
        commits.add(at)
        if run == "grid-2-1" and broken[0]:
            return SimpleNamespace(is_completed=lambda: False, name="Failed")
        level = 0.4 if "-1-" in run else 0.9
        write_json(source / RUNS / run / EVALUATION, {**judged(1, level), "gates": [], "metrics": []})
        write_jsonl(
            source / RUNS / run / SAMPLES_INDEX, [{"model": "tuned", "kind": "subject", "seed": 1, "path": "a.png"}]
        )
        picture(1).save(source / RUNS / run / SAMPLES / "a.png")
        return SimpleNamespace(is_completed=lambda: True, result=lambda: {"model": "mysks", "version": run})

    run = SimpleNamespace(get_root_flow_run_id=lambda: "run 1")
    for name, value in {
        "flow_run": run,
        "fine_tune_isolated": train,
        "rank_settings": module.rank_settings.fn,
        "show": lambda *_: None,
    }.items():
        monkeypatch.setattr(module, name, value)
    asked = {"grid": {"train.steps": [2, 4]}, "seeds": (1, 2), "name": "grid", "source": source}
    with disable_run_logger():
        compare.fn(**asked)
        assert trained == ["grid-1-1", "grid-1-2", "grid-2-1", "grid-2-2"]
        shutil.rmtree(source / RUNS)  # cleaned in the meantime
        git(source, "commit", "-q", "--allow-empty", "-m", "work goes on between two tries")
        broken[0], trained[:] = False, []
        compare.fn(**asked)
        assert trained == ["grid-2-1"]
        assert len(commits) == 1  # settings of different code cannot be compared
        ranking = read_json(source / ".dreamtrace" / "comparisons" / "grid" / "ranking.json")
        assert [row["trainings"] for row in ranking["rows"]] == [2, 2]
        run.get_root_flow_run_id = lambda: "run 2"
        trained.clear()
        compare.fn(**asked)
        assert len(trained) == 4 and len(commits) == 2  # another comparison of this name takes nothing over


@pytest.mark.parametrize(
    ("grid", "seeds", "said"),
    [
        ({"evaluate.bootstrap": [10, 20]}, (1,), "decides how settings are judged"),
        ({"train.steps": [2]}, (1,), "a single setting"),
        ({"train.steps": [2, 4]}, (1, 1), "must differ"),
        ({"train.stepz": [2, 4]}, (1,), "no parameter 'train.stepz'"),
        ({"train.steps": [2, -4]}, (1,), "train.steps"),
    ],
)
def test_a_grid_that_cannot_work_is_refused_before_the_first_training(
    source: Path, prefect, grid: dict, seeds: tuple, said: str
) -> None:
    state = compare(grid, seeds=seeds, name="no", source=source, return_state=True)
    assert state.is_failed()
    assert said in str(state.message)
    assert not (source / ".dreamtrace" / "runs").exists()
