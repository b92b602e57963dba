"""prefect.yaml on a real server: what it deploys has a form, and a worker finds the code and runs it."""

import os
import subprocess
import sys
from pathlib import Path

from prefect.client.orchestration import get_client

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


def test_all_is_deployed_and_a_worker_runs_it(prefect, tmp_path: Path) -> None:
    with get_client(sync_client=True) as client:
        api = str(client.api_url)
        for pool in ("cpu", "gpu"):
            call(api, "work-pool", "create", pool, "--type", "process")
        call(api, "--no-prompt", "deploy", "--all")
        found = {deployment.name: deployment for deployment in client.read_deployments()}
        assert set(found) == {"fine-tune", "fine-tune-gpu", "promote"}
        form = found["fine-tune"].parameter_openapi_schema["properties"]
        assert set(form) == {"name", "source", "commit", "overrides", "runs"}
        assert all(field.get("description") for field in form.values())
        assert str(ROOT) not in str(found["promote"].pull_steps)  # the deploying machine's folder is nobody else's

        parameters = {"ref": "models:/nothing/1", "workspace": str(tmp_path), "ask": False}
        run = client.create_flow_run_from_deployment(found["promote"].id, parameters=parameters)
        call(api, "worker", "start", "--pool", "cpu", "--run-once", DREAMTRACE_SOURCE=str(ROOT))
        state = client.read_flow_run(run.id).state
        assert state is not None and state.type.value == "FAILED"
        assert "the registry has no models:/nothing/1" in str(state.message)
