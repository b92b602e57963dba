"""What `deploy/` says, held against itself and against the programs that it calls; nothing of it is run here."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.server_setup import POOLS

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
ASKED = re.compile(r"\$\{([A-Z0-9_]+)(:\?[^}]+)?\}")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((DEPLOY / "compose.yaml").read_text()))


def test_every_credential_is_asked_for_and_listed_and_none_is_given(compose: dict[str, Any]) -> None:
    asked = ASKED.findall((DEPLOY / "compose.yaml").read_text())
    assert all(message for _, message in asked), "each says what is missing"
    lines = [line for line in (DEPLOY / "env.example").read_text().splitlines() if not line.startswith("#")]
    listed = {line.split("=")[0]: line.split("=", 1)[1] for line in lines}
    assert set(listed) == {name for name, _ in asked}
    assert not any(listed.values())
    for name, service in compose["services"].items():
        for variable, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|ACCESS_KEY|AUTH_STRING", variable):
                assert ASKED.search(str(value)), f"{name}: {variable} has a value of its own"


def test_no_secret_goes_into_the_image() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {"**/.env", ".git", ".dvc/config.local", ".dreamtrace", "data", "mlflow.db*"} <= set(ignored)
    copied = [line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if line.startswith("COPY")]
    assert not any(line.split()[1] in (".", "deploy") for line in copied)
    asked = subprocess.run(["git", "check-ignore", "-q", "deploy/.env"], cwd=ROOT, check=False)
    assert asked.returncode == 0


def test_nothing_listens_beyond_this_host(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert len(ports) == 3 and all(port.startswith("127.0.0.1:") for port in ports)


def test_services_wait_for_services_that_can_say_that_they_are_ready(compose: dict[str, Any]) -> None:
    services = compose["services"]
    waits = [
        (name, other, how["condition"])
        for name, service in services.items()
        for other, how in service.get("depends_on", {}).items()
    ]
    assert len(waits) >= 7
    for name, other, condition in waits:
        assert other in services, f"{name} waits for {other}"
        assert condition != "service_healthy" or "healthcheck" in services[other], f"{name} waits for {other}"
    volumes = [volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])]
    for volume in volumes:
        assert (DEPLOY / volume).is_file() if volume.startswith(".") else volume in compose["volumes"]
    assert (
        services["mlflow"]["environment"]["MLFLOW_ARTIFACTS_DESTINATION"].split("/")[2]
        in (services["buckets"]["command"])
    )


def test_the_programs_know_the_options_that_they_get(compose: dict[str, Any]) -> None:
    script = (DEPLOY / "worker.sh").read_text()
    assert subprocess.run(["sh", "-n", str(DEPLOY / "worker.sh")], check=False).returncode == 0
    worker = script.split("exec prefect ")[1].split()
    calls = {
        ("mlflow", "server"): compose["services"]["mlflow"]["command"][2:],
        ("prefect", "server", "start"): compose["services"]["prefect"]["command"][3:],
        ("prefect", "worker", "start"): worker,
        ("pipeline.commands.app", "deploy"): script.split("dreamtrace deploy ")[1].split("\n")[0].split(),
    }
    for program, arguments in calls.items():
        command = [sys.executable, "-m", *program, "--help"]
        said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
        options = [argument.split("=")[0] for argument in arguments if argument.startswith("--")]
        assert options
        for option in options:
            assert option in said, f"{' '.join(program)} {option}"
    assert {compose["services"][name]["command"][2] for name in ("worker", "worker-gpu")} == set(POOLS)


def test_the_image_is_built_from_files_that_are_there() -> None:
    copied = [
        name
        for line in (DEPLOY / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ")
        for name in line.split()[1:-1]
    ]
    assert {"pipeline", "flows", "constraints.txt", "deploy/worker.sh", "deploy/buckets.py"} <= set(copied)
    assert all((ROOT / name).exists() for name in copied)


def test_the_kubernetes_template_uses_what_it_declares() -> None:
    template = json.loads((DEPLOY / "kubernetes" / "gpu-pool.json").read_text())
    declared = set(template["variables"]["properties"])
    used = set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(template["job_configuration"])))
    assert used == declared
    (container,) = template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "{{ gpus }}"
    assert template["variables"]["properties"]["gpus"]["default"] == 1
    volumes = template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]["volumes"]
    assert {volume["name"] for volume in volumes} == {mount["name"] for mount in container["volumeMounts"]}
