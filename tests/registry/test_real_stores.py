"""The whole way on the stores of a team: MLflow on PostgreSQL, artifacts, DVC's remote and champions on S3."""

import json
from pathlib import Path

import pytest
import yaml

from pipeline.commands.publish import fetch, publish
from pipeline.commands.trace import show_trace
from pipeline.commands.withdraw import run_withdrawal
from pipeline.lineage.digests import content_digest
from pipeline.registry.examination import examine
from pipeline.registry.impact import impact
from pipeline.registry.promotion import promote
from pipeline.registry.store import connect
from pipeline.runs.reproduction import reproduce_model
from pipeline.storage.s3 import StorageError
from tests.registry.team_tampering import TeamStores, missed
from tests.services.fixtures import Bucket
from tests.workspace import dvc, git, make_workspace, tiny_values

pytestmark = pytest.mark.usefixtures("quick_stages")


@pytest.fixture
def clones(
    tiny_base: Path,
    tiny_scorer: Path,
    bucket: Bucket,
    mlflow_postgres: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[Path, Path]:
    """A workspace whose stages have all run on the stores of a team, and a clone of it on another machine."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_postgres)
    monkeypatch.setenv("DREAMTRACE_ARTIFACT_ROOT", f"{bucket.url}/mlflow")
    values = tiny_values(tiny_base, tiny_scorer) | {"publish": {"to": f"{bucket.url}/models"}}
    workspace = make_workspace(tmp_path / "w", values)
    dvc(workspace, "remote", "add", "-q", "-f", "-d", "team", f"{bucket.url}/dvc")
    git(workspace, "commit", "-qam", "a remote for all")
    dvc(workspace, "repro", "-q")
    dvc(workspace, "push", "-q")
    git(tmp_path, "clone", "-q", str(workspace), "other")  # another machine: nothing shared but the stores
    return workspace, tmp_path / "other"


@pytest.mark.live
@pytest.mark.timeout(1800)
def test_what_is_tampered_with_in_the_stores_is_found(
    clones: tuple[Path, Path], bucket: Bucket, mlflow_postgres: str
) -> None:
    stores = TeamStores(clones[1], bucket, mlflow_postgres)
    assert [link for link in stores.links() if link.state != "verified"] == []
    assert missed(stores) == []
    assert [link for link in stores.links() if link.state != "verified"] == []


@pytest.mark.slow
def test_train_trace_promote_publish_reproduce_withdraw(
    clones: tuple[Path, Path],
    bucket: Bucket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture,
) -> None:
    workspace, other = clones
    stored = bucket.client.list_objects_v2(Bucket=bucket.name, Prefix="mlflow/")["Contents"]
    assert any(entry["Key"].endswith("unet/diffusion_pytorch_model.safetensors") for entry in stored)
    capfd.readouterr()
    assert show_trace(other, "models:/mysks@challenger", True, True)
    assert json.loads(capfd.readouterr().out)["verdict"] == "verified"

    examined = examine(other, "models:/mysks/1")
    assert {line.split(":")[0] for line in examined.objections} == {"the gates"}
    promote(other, examined, "ann", "the only one there is", force=True)
    monkeypatch.chdir(other)
    publish("mysks", "", "ann")
    assert "is mysks version 1 now" in capfd.readouterr().out
    fetch(f"{bucket.url}/models/mysks", None)
    digest = connect(other).get_model_version("mysks", "1").tags["content_digest"]
    assert content_digest(other / "mysks" / "model") == digest

    assert reproduce_model(other, "models:/mysks@champion", tmp_path / "again").outcome == "identical"

    photo = next(iter((workspace / "data").glob("*.jpg")))
    assert [item.aliases for item in impact(other, str(photo)).affected] == [("challenger", "champion")]
    run_withdrawal(other, str(photo), "ann", "the owner asked", exact=False, yes=True)
    assert connect(other).get_registered_model("mysks").aliases == {}
    with pytest.raises(StorageError, match="was withdrawn: the owner asked"):
        fetch(f"{bucket.url}/models/mysks", tmp_path / "late")
    assert any("withdrawn" in line for line in examine(other, "models:/mysks/1").forbidden)
    assert yaml.safe_load((other / "params.yaml").read_text())["publish"]["to"] == f"{bucket.url}/models"
