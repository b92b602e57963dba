"""A workspace with its own git and DVC on the tiny base, and DVC's command in it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests import tiny
from tests.stage_host import quick_python

ROOT = Path(__file__).resolve().parents[1]


def tiny_values(base: Path, scorer: Path) -> dict[str, Any]:
    """The pocket preset, cut down to the tiny base: seconds, not minutes."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "profiles" / "pocket.yaml").read_text())
    found["base"]["model"] = str(base)
    found["prepare"] |= {"heldout": 1, "min_side": 32}
    draw = {"steps": 2, "guidance": 2.0, "scheduler": "ddim", "batch": 2, "precision": "fp32"}
    found["prior"] |= {"images": 2, "draw": draw, "places": {"images": 0}}
    found["train"] |= {"steps": 4, "batch": 2, "checkpoint_every": 2, "log_every": 1}
    found["train"] |= {"background_weight": 1.0, "validate_every": 2, "plain_captions": 0.0}
    found["train"] |= {"save_every": 2, "augment": {"places": 0}}
    found["preview"] |= {"every": 3, "draw": draw}
    found["select"] |= {"suite": str(ROOT / "tests" / "choosing.yaml"), "seeds": [31], "draw": draw}
    found["sample"] |= {"suite": "thesis", "seeds": [1, 2], "draw": draw}
    found["report"]["judge"] = None
    found["evaluate"] |= {"scorer": str(scorer), "identity": "scorer", "bootstrap": 50}
    return found


def dvc(workspace: Path, *arguments: str, quick: bool = True) -> str:
    """Run DVC's command in a workspace; what it printed. `quick`: stages come from `tests.stage_host`."""
    first = quick_python() if quick and arguments[0] == "repro" else Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{first}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=workspace, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def git(folder: Path, *arguments: str) -> str:
    """Run git as somebody; what it printed."""
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def equip(folder: Path) -> Path:
    """Give a folder with `data` and `params.yaml` its git, its DVC and the package, linked in as source."""
    for name in ("pipeline", "flows", "pocket", "dvc.yaml", ".dvcignore"):
        (folder / name).symlink_to(ROOT / name)
    git(folder, "init", "-q")
    dvc(folder, "init", "-q")
    dvc(folder, "add", "-q", "data")
    return folder


def make_workspace(folder: Path, values: dict[str, Any], photos: int = 5) -> Path:
    """A whole workspace, committed, with a DVC remote inside that holds the photos."""
    tiny.make_photos(folder / "data", photos)
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    equip(folder)
    dvc(folder, "remote", "add", "-q", "-d", "here", "remote")  # relative: a copy has its own
    dvc(folder, "push", "-q")
    (folder / ".gitignore").write_text("/data\n/remote\n/artifacts\n/reports\n/mlflow.db\n/mlartifacts\n/.dreamtrace\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "photos and parameters")
    return folder


def copy_of(workspace: Path, target: Path) -> Path:
    """A copy to be tampered with; links stay links."""
    return Path(shutil.copytree(workspace, target, symlinks=True))
