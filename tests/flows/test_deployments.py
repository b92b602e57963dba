"""prefect.yaml on a real server: what it deploys has a form, and a worker finds the code and runs it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.forms import HIDDEN, photo_places
from pipeline.runs.repository import version_of
from pipeline.servers.deployments import DeployError, deploy
from tests.commands.test_app import dreamtrace
from tests.workspace import git

ROOT = Path(__file__).resolve().parents[2]


def call(api: str, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "prefect", *arguments],
        cwd=ROOT,
        env={**os.environ, "PREFECT_API_URL": api, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_all_is_deployed_and_a_worker_runs_it(prefect, tmp_path: Path) -> None:
    empty = f"sqlite:///{tmp_path}/mlflow.db"
    with get_client(sync_client=True) as client:
        api = str(client.api_url)
        said = deploy(ROOT, {"PREFECT_API_URL": api, "DREAMTRACE_SOURCE": str(ROOT)}, ["host-cpu"])
        assert said == "made work pool cpu, work pool gpu, the automation for crashed runs"
        assert deploy(ROOT, {"PREFECT_API_URL": api}, ["host-cpu"]) == "all is there"
        assert client.read_global_concurrency_limit_by_name("host-cpu").limit == 1
        assert deploy(ROOT, {"PREFECT_API_URL": api}, replace=False) == "all is there"
        other = tmp_path / "other"
        other.mkdir()
        for name in ("flows", "pipeline", "prefect.yaml"):
            (other / name).symlink_to(ROOT / name)
        git(other, "init", "-q")
        git(other, "commit", "-q", "--allow-empty", "-m", "another repository")
        with pytest.raises(DeployError, match=r"of commit .* this repository does not have: give each .* --replace"):
            deploy(other, {"PREFECT_API_URL": api}, replace=False)
        found = {deployment.name: deployment for deployment in client.read_deployments()}
        on_gpus = {name: found[f"{name}-gpu"] for name in ("fine-tune", "retrain", "compare")}
        assert set(found) == {*on_gpus, *(f"{name}-gpu" for name in on_gpus), "promote"}
        for name, deployment in on_gpus.items():
            assert (found[name].work_pool_name, deployment.work_pool_name) == ("cpu", "gpu")
            assert deployment.entrypoint == found[name].entrypoint
        for name, deployment in found.items():
            form = deployment.parameter_openapi_schema["properties"]
            assert all(field.get("description") for field in form.values()), name
            assert str(ROOT) not in str(deployment.pull_steps)  # the deploying machine's folder is nobody else's
            assert deployment.version == version_of(ROOT)
        form = found["fine-tune"].parameter_openapi_schema["properties"]
        assert set(form) == {"subject", "profile", "overrides", "photos", "name", "commit"}
        assert form["profile"]["enum"] == ["as committed", "pocket", "sd15-fast", "sd15-lora", "thesis"]
        assert form["photos"]["enum"] == ["as committed", *photo_places(ROOT)]
        assert form["overrides"]["type"] == "object"  # a page shows no editor where it may also be null
        assert "not committed are not seen" in form["commit"]["description"]
        for name, deployment in found.items():
            schema = deployment.parameter_openapi_schema
            assert not HIDDEN & set(schema["properties"]), name
            assert schema["additionalProperties"] is False, name
            assert not any("anyOf" in field for field in schema["properties"].values()), name
        assert [(schedule.slug, schedule.active) for schedule in found["retrain"].schedules] == [("nightly", False)]

        parameters = {"ref": "models:/nothing/1"}
        run = client.create_flow_run_from_deployment(found["promote"].id, parameters=parameters)
        unasked = client.create_flow_run_from_deployment(found["promote"].id, parameters={**parameters, "ask": False})
        client.update_deployment(found["fine-tune"].id, DeploymentUpdate(enforce_parameter_schema=False))
        elsewhere = {"photos": "/etc", "name": "elsewhere"}  # a form's page can leave its schema out
        refused = client.create_flow_run_from_deployment(found["fine-tune"].id, parameters=elsewhere)
        call(
            api,
            "worker",
            "start",
            "--pool",
            "cpu",
            "--run-once",
            DREAMTRACE_SOURCE=str(ROOT),
            MLFLOW_TRACKING_URI=empty,
        )
        state = client.read_flow_run(run.id).state
        assert state is not None and state.type.value == "FAILED"
        assert "the registry has no models:/nothing/1" in str(state.message)
        state = client.read_flow_run(unasked.id).state
        assert state is not None and "a form asks a person" in str(state.message)
        state = client.read_flow_run(refused.id).state
        assert state is not None and "photos come from data only" in str(state.message)


def test_without_a_server_nothing_is_called_deployed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setattr("pipeline.servers.deployments.deploy", lambda *_: "all is there")
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert dreamtrace(monkeypatch, "deploy") == 1
    said = capsys.readouterr()
    assert "PREFECT_API_URL" in said.err and not said.out


def test_a_form_that_cannot_be_right_is_refused_before_anything_starts(prefect) -> None:
    with get_client(sync_client=True) as client:
        deploy(ROOT, {"PREFECT_API_URL": str(client.api_url)})
        fine_tune = client.read_deployment_by_name("fine-tune-isolated/fine-tune")
        for wrong in (
            {"profile": "no-such-profile"},
            {"subject": {"name": "x!"}},
            {"subject": {"name": "rex", "token": "two words", "class_noun": "dog"}},
            {"overrides": "train.steps=4"},
            {"photos": "/etc"},
            {"source": "/etc"},
            {"runs": "/etc"},
        ):
            with pytest.raises(PrefectHTTPStatusError, match="409"):
                client.create_flow_run_from_deployment(fine_tune.id, parameters=wrong)
