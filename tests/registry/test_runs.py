from pathlib import Path

import pytest

from pipeline.params import load_params
from pipeline.registry.runs import open_run
from pipeline.registry.store import StoreError, _shown, connect, experiment_id

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def test_a_store_that_fails_for_a_while_loses_no_row(workspace: Path, monkeypatch) -> None:
    from mlflow.exceptions import MlflowException

    live = open_run(workspace, load_params(ROOT / "params.yaml"), None, "0" * 32 + ".dir", "run")
    monkeypatch.setattr("pipeline.registry.runs.FLUSH_SECONDS", 0)
    live.log({"step": 1, "loss": 0.5})
    real = live.client.log_batch

    def down(*_, **__):
        raise MlflowException("down")

    live.client.log_batch = down
    live.log({"step": 2, "loss": 0.4})
    live.log({"step": 3, "loss": 0.3})
    live.client.log_batch = real
    live.log({"step": 4, "loss": 0.2})
    live.finish("FINISHED")
    history = live.client.get_metric_history(live.run_id, "loss")
    assert sorted((metric.step, metric.value) for metric in history) == [(1, 0.5), (2, 0.4), (3, 0.3), (4, 0.2)]


def test_a_deleted_experiment_says_how_to_get_it_back(workspace: Path) -> None:
    client = connect(workspace)
    client.delete_experiment(experiment_id(client, "mine", workspace))
    with pytest.raises(StoreError, match="mlflow experiments restore"):
        experiment_id(client, "mine", workspace)


def test_a_store_that_does_not_answer_is_one_sentence(workspace: Path, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(StoreError, match="does not answer") as caught:
        connect(workspace)
    assert "\n" not in str(caught.value)


def test_passwords_are_not_shown() -> None:
    assert _shown("postgresql://me:secret@host/db") == "postgresql://host/db"
