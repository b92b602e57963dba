"""MLflow's addresses lead to the pages of trainings, not to those of language models."""

from pathlib import Path

import pytest

from pipeline.registry.page_links import report_page, run_page, trainings_page, version_page
from pipeline.registry.store import connect

PAGE = "http://127.0.0.1:5000"


def test_every_address_names_the_pages_of_trainings(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = connect(copy)
    version = client.get_model_version("mysks", "1")
    experiment = client.get_run(version.run_id).info.experiment_id
    assert run_page(copy, version.run_id) is None  # a database has no pages
    monkeypatch.setenv("DREAMTRACE_MLFLOW_PAGE", f"{PAGE}/")
    run = run_page(copy, version.run_id)
    assert run == f"{PAGE}/#/experiments/{experiment}/runs/{version.run_id}?workflowType=machine_learning"
    assert version_page(copy, "mysks", "1") == f"{PAGE}/#/models/mysks/versions/1?workflowType=machine_learning"
    assert report_page(run, "0123456789abcdef01") == (
        f"{PAGE}/#/experiments/{experiment}/runs/{version.run_id}/artifacts/report/0123456789abcdef/index.html"
        "?workflowType=machine_learning"
    )
    assert trainings_page(copy, client, PAGE) == (
        f"{PAGE}/#/experiments/{experiment}/runs?workflowType=machine_learning"
    )


def test_before_the_first_training_all_experiments_are_shown(project, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = project(register={"experiment": "another"})
    wanted = f"{PAGE}/#/experiments?workflowType=machine_learning"
    assert trainings_page(workspace, connect(workspace), PAGE) == wanted
    (workspace / "params.yaml").write_text("nonsense")
    assert trainings_page(workspace, connect(workspace), PAGE) == wanted
