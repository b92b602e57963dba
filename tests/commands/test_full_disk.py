"""Every command on a disk without a byte free: what only reads works, what writes ends in one sentence."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.registry.store import connect
from tests.commands.test_wrong_use import MOST_WORK_S, verbs
from tests.workspace import ROOT

ONE = "models:/mysks/1"
READ = {
    "version": ["version"],
    "list": ["list"],
    "status": ["status"],
    "profile list": ["profile", "list"],
    "profile show": ["profile", "show", "thesis"],
    "token": ["token", "mysks"],
    "estimate": ["estimate"],
    "trace": ["trace", ONE],
    "compare": ["compare", ONE, ONE],
    "calibrate": ["calibrate", "--good", ONE, "--faulty", ONE],
    "propose captions": ["propose", "captions"],  # each photo has one
    "recipe show": ["recipe", "show", ONE],
    "recipe check": ["recipe", "check", "recipe.yaml", "--model", ONE],
    "clean": ["clean", "--yes"],
    "runs clean": ["runs", "clean"],
}
WRITE = {
    "check": ["check"],  # these two say that a run would stop
    "params check": ["params", "check"],
    "profile use": ["profile", "use", "thesis"],
    "new": ["new", "data", "--token", "gtwlb", "--class", "plush toy"],
    "run": ["run"],
    "run --isolated": ["run", "--isolated", "one"],
    "demo": ["demo"],
    "generate": ["generate", "a toy", "--model", ONE, "--steps", "1"],
    "export": ["export", ONE, "one.safetensors"],
    "trace --verify": ["trace", ONE, "--verify"],
    "reproduce": ["reproduce", ONE],
    "push-to-hub": ["push-to-hub", ONE, "me/mysks"],
    "promote": ["promote", ONE, "--force", "--reason", "x"],
    "rollback": ["rollback", "mysks"],
    "reject": ["reject", ONE, "--reason", "x"],
    "recipe use": ["recipe", "use", ONE, "recipe.yaml", "--reason", "x"],
    "impact": ["impact", "data/photo0.jpg"],
    "withdraw": ["withdraw", "data/photo0.jpg", "--reason", "x", "--yes"],
    "delete": ["delete", ONE, "--reason", "x", "--yes"],
    "studio": ["studio"],
    "deploy": ["deploy"],
    "up": ["up"],
}
EITHER = {"trace --verify"}  # a link in a temporary folder may find room
ELSEWHERE = {
    "propose masks",  # needs a model that has to be downloaded
    "propose accept",  # needs proposals, which a full disk cannot hold
    "recipe back",  # needs an earlier recipe; it writes as `recipe use` does
    "publish",  # these two need an S3
    "fetch",
    "ui mlflow",  # serves what is there until it is stopped
    "ui prefect",
}

pytestmark = pytest.mark.slow


def rights() -> list[str] | None:
    """What gives the right to mount a disk of one's own; None where nothing does."""
    ways = (["unshare", "--user", "--map-root-user", "--mount"], ["unshare", "--mount"])
    for way in ways if shutil.which("unshare") else ():
        if subprocess.run([*way, "true"], capture_output=True, check=False).returncode == 0:
            return way
    return None


@pytest.fixture(scope="module")
def outcomes(origin: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    if (mounting := rights()) is None:
        pytest.skip("this machine lets nobody mount a disk of one's own (user namespaces)")
    folder = tmp_path_factory.mktemp("full")
    workspace = Path(shutil.copytree(origin, folder / "w", symlinks=True))
    (workspace / "recipe.yaml").write_text("strength: 0.9\n")
    for name in ("prefect.yaml", "profiles"):
        (workspace / name).symlink_to(ROOT / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        connect(workspace).delete_registered_model_alias("mysks", "challenger")
    hidden = {name for name in os.environ if name.startswith(("MLFLOW_", "PREFECT_", "AWS_", "XDG_"))}
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    (folder / "disk").mkdir()
    commands = {**READ, **WRITE}
    done = subprocess.run(
        [*mounting, sys.executable, "-m", "tests.commands.full_disk", str(workspace), str(folder / "disk")],
        cwd=ROOT,
        env={**environment, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "AWS_ENDPOINT_URL": "http://127.0.0.1:1"},
        input=json.dumps(list(commands.values())),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return dict(zip(commands, rows, strict=True))


def test_every_command_is_in_the_table() -> None:
    assert verbs() <= {*READ, *WRITE, *ELSEWHERE}


@pytest.mark.parametrize("command", READ)
def test_what_only_reads_works(outcomes: dict[str, dict[str, Any]], command: str) -> None:
    found = outcomes[command]
    assert found["status"] == 0, found["said"]
    assert "Traceback" not in found["said"] and found["seconds"] < MOST_WORK_S


@pytest.mark.parametrize("command", WRITE)
def test_what_writes_says_so_in_one_sentence(outcomes: dict[str, dict[str, Any]], command: str) -> None:
    found = outcomes[command]
    if command in EITHER and found["status"] == 0:
        return
    assert found["status"] in (1, 75), found["said"]
    assert "Traceback" not in found["said"] and found["seconds"] < MOST_WORK_S, found
    lines = re.findall(r"^(?:error: |PROBLEM  ).*", found["said"], re.MULTILINE)
    assert len(lines) == 1, found["said"]
    assert re.search("space|B are free", found["said"].partition(lines[0])[2] + lines[0]), found["said"]
