"""A grid of settings: each trained with every seed, ranked in one table; one that cannot work is refused at once."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.logging import disable_run_logger

import flows.compare as module
from flows.compare import compare
from flows.isolated import RunRefused
from pipeline.files import read_json, write_json, write_jsonl
from pipeline.layout import EVALUATION, SAMPLES, SAMPLES_INDEX
from pipeline.registry.store import connect
from pipeline.runs.parameter_grid import GridError
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


@pytest.fixture
def trainings(source: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stands in for the trainings of one flow run; `broken` is the name of the one that fails."""
    found = SimpleNamespace(trained=[], commits=set(), broken="grid-2-1", owner="run 1", during=lambda: None)

    def train(*given: Any, **_: Any) -> SimpleNamespace:
        run, at = given[4], given[5]
        found.trained.append(run)
        found.commits.add(at)
        found.during()
        if run == found.broken:
            return SimpleNamespace(is_completed=lambda: False, name="Failed")
        level = 0.4 if "-1-" in run else 0.9
        write_json(source / RUNS / run / EVALUATION, {**judged(1, level), "gates": [], "metrics": []})
        write_jsonl(
            source / RUNS / run / SAMPLES_INDEX, [{"model": "tuned", "kind": "subject", "seed": 1, "path": "a.png"}]
        )
        picture(1).save(source / RUNS / run / SAMPLES / "a.png")
        return SimpleNamespace(is_completed=lambda: True, result=lambda: {"model": "mysks", "version": run})

    for name, value in {
        "flow_run": SimpleNamespace(get_root_flow_run_id=lambda: found.owner),
        "fine_tune_isolated": train,
        "rank_settings": module.rank_settings.fn,
        "current_photos": module.current_photos.fn,
        "show": lambda *_: None,
    }.items():
        monkeypatch.setattr(module, name, value)
    return found


GRID = {"grid": {"train.steps": [2, 4]}, "seeds": (1, 2), "name": "grid"}
ALL = ["grid-1-1", "grid-1-2", "grid-2-1", "grid-2-2"]


def test_a_retry_trains_what_is_missing_and_nothing_else(source: Path, trainings: SimpleNamespace) -> None:
    with disable_run_logger():
        compare.fn(**GRID, source=source)
        assert trainings.trained == ALL
        shutil.rmtree(source / RUNS)  # cleaned in the meantime
        git(source, "commit", "-q", "--allow-empty", "-m", "work goes on between two tries")
        trainings.broken, trainings.trained[:] = "", []
        compare.fn(**GRID, source=source)
        assert trainings.trained == ["grid-2-1"]
        assert len(trainings.commits) == 1  # settings of different code cannot be compared
        ranking = read_json(source / ".dreamtrace" / "comparisons" / "grid" / "ranking.json")
        assert [row["trainings"] for row in ranking["rows"]] == [2, 2]
        trainings.owner = "run 2"
        trainings.trained.clear()
        with pytest.raises(GridError, match="is of another comparison; choose another name"):
            compare.fn(**GRID, source=source)
        assert not trainings.trained
        begun = source / ".dreamtrace" / "comparisons" / "grid" / "begun.json"
        begun.unlink()
        compare.fn(**GRID, source=source)
        # another run of this name takes nothing over
        assert len(trainings.trained) == 4 and len(trainings.commits) == 2


def test_a_comparison_never_mixes_photos_of_two_days(source: Path, tmp_path: Path, trainings: SimpleNamespace) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    picture(1).save(photos / "a.png")
    asked = {**GRID, "photos": str(photos), "source": source}
    with disable_run_logger():
        compare.fn(**asked)
        trainings.broken, trainings.trained[:] = "", []
        picture(2).save(photos / "b.png")
        with pytest.raises(GridError, match="photos changed"):
            compare.fn(**asked)
        assert not trainings.trained
        (photos / "b.png").unlink()
        compare.fn(**asked)
        assert trainings.trained == ["grid-2-1"]  # the photos are back
        (source / ".dreamtrace" / "comparisons" / "grid" / "begun.json").unlink()
        trainings.owner, trainings.during = "run 2", lambda: picture(3).save(photos / "a.png")
        with pytest.raises(GridError, match="photos changed"):
            compare.fn(**asked)
        assert trainings.trained == ["grid-2-1", "grid-1-1"]  # none of the hours after the change is spent


def test_settings_that_cannot_work_are_all_named_before_the_first_training(
    source: Path, trainings: SimpleNamespace
) -> None:
    grid = {"train.token.start_from": ["a brown soft toy", "toy"]}
    shared = {"train.token.learn": True, "train.token.vectors": 2, "evaluate.scorer": "/nowhere/no-scorer"}
    with disable_run_logger(), pytest.raises(RunRefused) as refused:
        compare.fn(grid=grid, seeds=(1,), overrides=shared, name="grid", source=source)
    assert not trainings.trained
    said = str(refused.value)
    assert "has 2 problems" in said and said.count("no-scorer") == 1 and "(and 1 other)" in said
    assert said.count("4 words for 2 vectors") == 1


@pytest.mark.parametrize("name", ["Night 1", "../../x", "a" * 60])
def test_a_name_that_no_training_can_have_is_refused_at_once(
    source: Path, trainings: SimpleNamespace, name: str
) -> None:
    with disable_run_logger(), pytest.raises(RunRefused, match="small letters, digits and hyphens, at most 63"):
        compare.fn(**{**GRID, "name": name}, source=source)
    assert not trainings.trained and not (source / ".dreamtrace" / "comparisons").exists()


def test_the_commit_is_checked_and_not_what_lies_in_the_folder(source: Path, trainings: SimpleNamespace) -> None:
    (source / "params.yaml").write_text("subject: {")  # half edited
    with disable_run_logger():
        compare.fn(**GRID, source=source)
    assert trainings.trained == ALL


@pytest.mark.parametrize(
    ("grid", "seeds", "said"),
    [
        ({"evaluate.bootstrap": [10, 20]}, (1,), "decides how settings are judged"),
        ({"train.steps": [2]}, (1,), "a single setting"),
        ({"train.steps": [2, 4]}, (1, 1), "must differ"),
        ({"train.stepz": [2, 4]}, (1,), "no parameter 'train.stepz'"),
        ({"train.steps": [2, -4]}, (1,), "train.steps"),
        ({"train.learning_rate": [1e-4, 0.0001, 2e-4]}, (1,), "has a value twice"),
    ],
)
def test_a_grid_that_cannot_work_is_refused_before_the_first_training(
    source: Path, prefect, grid: dict, seeds: tuple, said: str
) -> None:
    state = compare(grid, seeds=seeds, name="no", source=source, return_state=True)
    assert state.is_failed()
    assert said in str(state.message)
    assert not (source / ".dreamtrace" / "runs").exists()
