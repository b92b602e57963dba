"""Stages of the project run in a workspace of a benchmark."""

import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any


def run_stage(workspace: Path, stage: str, out: IO[Any] | None = None) -> None:
    """Run a stage in a process of its own, with the code that lies beside this file.

    Args:
        out: where it prints; None: where this process does.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", f"pipeline.stages.{stage}"]
    subprocess.run(command, cwd=workspace, env=environment, stdout=out, check=True)
