"""What `deploy/` says, held against itself and against the programs that it calls; nothing of it is run here."""

import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore
from mlflow.server.security_utils import is_allowed_host_header, should_block_cors_request

from flows.server_setup import POOLS
from pipeline.servers.authentication import PASSWORD, AccessError
from pipeline.training.signals import SAVE_S

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
ASKED = re.compile(r"\$\{([A-Z0-9_]+)(?::([?-])([^}]+))?\}")  # ${NAME:?what is missing} or ${NAME:-default}
LOOPBACK = re.compile(r"(http://)?(127\.0\.0\.1|localhost):\d+")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((DEPLOY / "compose.yaml").read_text()))


def test_every_credential_is_asked_for_and_listed_and_none_is_given(compose: dict[str, Any]) -> None:
    asked = ASKED.findall((DEPLOY / "compose.yaml").read_text())
    assert all(text for _, _, text in asked), "each says what is missing, or has a default"
    defaults = {name: text for name, sign, text in asked if sign == "-"}
    assert all(LOOPBACK.fullmatch(text) for text in defaults.values()), "by default only this host is let in"
    assert not set(defaults) & {name for name, sign, _ in asked if sign == "?"}
    lines = [line for line in (DEPLOY / "env.example").read_text().splitlines() if not line.startswith("#")]
    listed = {line.split("=")[0]: line.split("=", 1)[1] for line in lines}
    assert set(listed) == {name for name, _, _ in asked}
    assert {name: value for name, value in listed.items() if value} == defaults
    for name, service in compose["services"].items():
        for variable, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|ACCESS_KEY|AUTH_STRING", variable):
                found = ASKED.search(str(value))
                assert found and found[2] == "?", f"{name}: {variable} has a value of its own"


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


def filled(text: str, env: dict[str, str]) -> str:
    """A text of compose.yaml as Docker Compose fills it in."""
    return ASKED.sub(lambda found: env.get(found[1]) or (found[3] if found[2] == "-" else "given"), text)


def test_others_reach_the_pages_by_the_addresses_that_the_environment_names(compose: dict[str, Any]) -> None:
    names = {
        "PREFECT_PAGE": "https://p.example.org",
        "MLFLOW_PAGE": "https://m.example.org",
        "MLFLOW_HOSTS": "m.example.org",
    }
    for env, prefect, mlflow, host in (
        ({}, "http://127.0.0.1:4200", "http://127.0.0.1:5000", "127.0.0.1:5000"),
        (names, "https://p.example.org", "https://m.example.org", "m.example.org"),
    ):
        services = yaml.safe_load(filled((DEPLOY / "compose.yaml").read_text(), env))["services"]
        options = dict(option.split("=", 1) for option in services["mlflow"]["command"] if "=" in option)
        allowed = options["--allowed-hosts"].split(",")
        assert {"mlflow:5000", host} <= set(allowed)
        assert is_allowed_host_header(allowed, host) and not is_allowed_host_header(allowed, "other.example.org")
        assert not should_block_cors_request(mlflow, "POST", options["--cors-allowed-origins"].split(","))
        assert services["prefect"]["environment"]["PREFECT_SERVER_UI_API_URL"] == f"{prefect}/api"
        assert services["worker"]["environment"]["DREAMTRACE_MLFLOW_PAGE"] == mlflow


def test_other_hosts_are_told_every_variable_that_the_workers_here_get(compose: dict[str, Any]) -> None:
    here = set(compose["x-clients"]) - {"DREAMTRACE_GIT"}  # they have a clone already
    assert here <= set(re.findall(r"\b([A-Z][A-Z0-9_]+)=", (DEPLOY / "README.md").read_text()))


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


def test_a_new_password_is_told_to_mlflow_before_it_starts(compose: dict[str, Any]) -> None:
    step, mlflow = compose["services"]["password"], compose["services"]["mlflow"]
    assert mlflow["depends_on"]["password"] == {"condition": "service_completed_successfully"}
    assert step["restart"] == "no"
    same = "MLFLOW_AUTH_CONFIG_PATH"
    assert step["environment"][same] == mlflow["environment"][same]
    assert step["environment"][PASSWORD] == mlflow["environment"]["MLFLOW_AUTH_ADMIN_PASSWORD"]
    database = mlflow_users(DEPLOY / Path(step["environment"][same]).name)
    assert any(database.startswith(f"sqlite:///{volume.split(':')[1]}/") for volume in step["volumes"])
    assert step["volumes"] == mlflow["volumes"]


def mlflow_users(config: Path) -> str:
    """Where MLflow keeps its users, as its file of settings says."""
    return str(re.findall(r"^database_uri = (.+)$", config.read_text(), re.MULTILINE)[0])


def test_the_password_step_changes_what_a_first_start_has_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(DEPLOY)
    step = import_module("password")
    config = tmp_path / "mlflow-auth.ini"
    config.write_text((DEPLOY / "mlflow-auth.ini").read_text().replace("/state/", f"{tmp_path}/"))
    monkeypatch.setenv(PASSWORD, "the-second-password")
    step.main(str(config))  # before MLflow has ever run
    store = SqlAlchemyStore()
    store.init_db(mlflow_users(config))
    store.create_user("dreamtrace", "the first password", is_admin=True)
    step.main(str(config))
    assert store.authenticate_user("dreamtrace", "the-second-password")
    assert not store.authenticate_user("dreamtrace", "the first password")
    monkeypatch.setenv(PASSWORD, "short")
    with pytest.raises(AccessError, match=PASSWORD):
        step.main(str(config))


def test_the_programs_know_the_options_that_they_get(compose: dict[str, Any]) -> None:
    script = (DEPLOY / "worker.sh").read_text()
    assert subprocess.run(["sh", "-n", str(DEPLOY / "worker.sh")], check=False).returncode == 0
    worker = script.split(" prefect ")[1].split()
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
    assert {
        "pipeline",
        "flows",
        "constraints.txt",
        "deploy/worker.sh",
        "deploy/worker.py",
        "deploy/buckets.py",
        "deploy/password.py",
    } <= set(copied)
    assert all((ROOT / name).exists() for name in copied)


def test_a_worker_is_not_ended_before_its_training_has_had_its_time_to_save(compose: dict[str, Any]) -> None:
    for name in ("worker", "worker-gpu"):
        assert int(compose["services"][name]["stop_grace_period"].removesuffix("s")) > SAVE_S, name
    template = json.loads((DEPLOY / "kubernetes" / "gpu-pool.json").read_text())
    pod = template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > SAVE_S


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
