"""A grid of settings: each trained with every seed, ranked in one table; one that cannot work is refused at once."""

from pathlib import Path

import pytest

from flows.compare import compare
from pipeline.files import read_json
from pipeline.registry.store import connect
from tests.workspace import dvc

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
