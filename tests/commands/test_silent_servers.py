"""Servers that are down, and servers that take a connection and never answer: one sentence, soon, and a true status."""

import socket
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from pipeline.errors import TRY_AGAIN, NotNow
from pipeline.lineage.dvc_objects import Objects
from pipeline.network import reachable
from pipeline.network.reachable import silence
from pipeline.registry.artifacts import Artifacts
from pipeline.runs.dvc import DataError, fetch_data
from tests import tiny
from tests.commands.test_app import dreamtrace
from tests.services.debian import free_port
from tests.workspace import dvc, git

SOON_S = 20.0  # of a busy machine, once everything is loaded; who tries again and again takes minutes
LOADED = ("mlflow", "prefect", "boto3", "dvc.repo", "pipeline.commands.app", "pipeline.registry.lookup")
PROFILES = Path(__file__).resolve().parents[2] / "profiles"
VERSION = "models:/mysks@champion"
ASK_MLFLOW = {
    "trace": ["trace", VERSION],
    "trace --verify": ["trace", VERSION, "--verify"],
    "generate": ["generate", "a photo of mysks", "--model", VERSION],
    "promote": ["promote", VERSION],
    "promote --ask": ["promote", VERSION, "--ask"],
    "rollback": ["rollback", "mysks"],
    "reject": ["reject", VERSION, "--reason", "smudges"],
    "delete": ["delete", VERSION, "--reason", "a try-out", "--yes"],
    "recipe show": ["recipe", "show", VERSION],
    "recipe back": ["recipe", "back", VERSION],
    "impact": ["impact", "photo.jpg"],
    "withdraw": ["withdraw", "photo.jpg", "--reason", "asked for"],
    "export": ["export", VERSION, "mysks.safetensors"],
    "compare": ["compare", VERSION, "models:/mysks@challenger"],
    "calibrate": ["calibrate", "--good", VERSION, "--faulty", "models:/mysks/1"],
    "publish": ["publish", "mysks", "--to", "s3://bucket/models"],
    "reproduce": ["reproduce", VERSION],
    "push-to-hub": ["push-to-hub", VERSION, "me/mysks"],
    "list": ["list"],
    "ui mlflow": ["ui", "mlflow", "--port", str(free_port())],
}
ASK_PREFECT = {
    "promote": ["promote", VERSION],
    "promote --ask": ["promote", VERSION, "--ask"],
    "deploy": ["deploy"],
}


@pytest.fixture(params=["down", "silent"])
def port(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A port where nobody listens, or one that takes connections (the kernel does) and answers nothing."""
    monkeypatch.setattr(reachable, "ANSWER_S", 0.3)
    monkeypatch.setattr(reachable, "_silent", {})
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        if request.param == "silent":
            held.listen(16)
        yield held.getsockname()[1]


@pytest.fixture(scope="module", autouse=True)
def loaded() -> None:
    """What the commands load: that takes as long as the machine is busy, and says nothing of servers."""
    for name in LOADED:
        import_module(name)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "PREFECT_API_URL", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    tiny.picture(1).save(tmp_path / "photo.jpg")
    return tmp_path


def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    """What a command says about a server that does not answer; it must end soon, with the status of "not now"."""
    began = time.monotonic()
    status = dreamtrace(monkeypatch, *arguments)
    took, said = time.monotonic() - began, capsys.readouterr().err.strip()
    assert status == TRY_AGAIN, said
    assert took < SOON_S
    assert "Traceback" not in said
    (sentence,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert "does not answer" in sentence and "run the same command again" in sentence
    return sentence


@pytest.mark.parametrize("command", ASK_MLFLOW)
def test_mlflow_is_away(command: str, port: int, here: Path, monkeypatch, capsys) -> None:
    (here / "params.yaml").write_text((PROFILES / "pocket.yaml").read_text())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://somebody:secret@127.0.0.1:{port}")
    sentence = told(monkeypatch, capsys, ASK_MLFLOW[command])
    assert f"MLflow store at http://127.0.0.1:{port} " in sentence and "MLFLOW_TRACKING_URI" in sentence
    assert "secret" not in sentence


@pytest.mark.parametrize("command", ["trace", "rollback"])
def test_postgresql_is_away(command: str, port: int, here: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"postgresql+psycopg://somebody:secret@127.0.0.1:{port}/mlflow")
    sentence = told(monkeypatch, capsys, ASK_MLFLOW[command])
    assert f"postgresql+psycopg://127.0.0.1:{port}/mlflow" in sentence
    assert "secret" not in sentence


@pytest.mark.parametrize("command", ASK_PREFECT)
def test_prefect_is_away(command: str, port: int, here: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{port}/api")
    assert f"PREFECT_API_URL=http://127.0.0.1:{port}/api" in told(monkeypatch, capsys, ASK_PREFECT[command])


def test_s3_is_away(port: int, here: Path, monkeypatch, capsys) -> None:
    for name, value in {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    sentence = told(monkeypatch, capsys, ["fetch", "s3://bucket/models/mysks"])
    assert f"S3 at http://127.0.0.1:{port} " in sentence and "AWS_ENDPOINT_URL" in sentence
    assert [path.name for path in here.iterdir()] == ["photo.jpg"]


def test_the_registrys_files_are_on_an_s3_that_is_away(port: int, here: Path, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    files = Artifacts(None, here / "scratch")
    for look in (lambda: files.at("s3://bucket/1/record"), lambda: files.without("s3://bucket/1", "weights")):
        with pytest.raises(NotNow, match=r"does not answer.*MLFLOW_S3_ENDPOINT_URL"):
            look()


def test_the_stage_register_ends_with_the_status_of_not_now(port: int, project, monkeypatch) -> None:
    from pipeline.params import load_params

    workspace = project()
    stage = import_module("pipeline.stages.register")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    monkeypatch.setattr("pipeline.lineage.read.read_lineage", lambda _: {"weights": {"content_digest": "d"}})
    monkeypatch.setattr("pipeline.lineage.digests.content_digest", lambda _: "d")
    monkeypatch.setattr(stage, "read_json", lambda _: {})
    with pytest.raises(NotNow, match="MLflow store") as error:
        stage.run(workspace, load_params(workspace / "params.yaml"))
    assert error.value.status == TRY_AGAIN


def test_the_dvc_remote_is_away(port: int, here: Path) -> None:
    git(here, "init", "-q")
    dvc(here, "init", "-q")
    dvc(here, "remote", "add", "-q", "-d", "team", "s3://bucket/dvc")
    dvc(here, "remote", "modify", "-q", "team", "endpointurl", f"http://127.0.0.1:{port}")
    began = time.monotonic()
    copies = Objects(here).read("d" * 32)
    assert time.monotonic() - began < 3 * SOON_S
    assert copies.content is None
    (reason,) = copies.silent
    assert f"DVC's remote could not be read: http://127.0.0.1:{port} does not answer" in reason
    (here / "data.dvc").write_text("outs:\n- md5: d751713988987e9331980363e24189ce.dir\n  path: data\n  hash: md5\n")
    began = time.monotonic()
    with pytest.raises(DataError, match=rf"DVC remote team at http://127.0.0.1:{port} does not answer") as error:
        fetch_data(here)
    assert error.value.status == TRY_AGAIN
    assert time.monotonic() - began < 3 * SOON_S  # processes of DVC, each of which loads for a second or more


def test_what_answers_is_not_called_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert silence(f"ssh://127.0.0.1:{port}/x") is None  # nobody knows how to ask
        assert silence("sqlite:///mlflow.db") is None
        assert silence("s3://bucket/prefix") is None
        assert silence("http://[") is None
        assert silence(f"mysql://127.0.0.1:{port}/x") is None  # a connection is enough
    assert reachable.CONNECT_S + reachable.ANSWER_S < SOON_S
