"""Stages of the project run in a workspace of a benchmark, and what their models were made from."""

import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from pipeline.base.resolve import resolve_base
from pipeline.errors import joined
from pipeline.lineage.read import read_lineage
from pipeline.params import Base


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


def refuse_other(model: Path, base: str, params: dict[str, Any] | None = None) -> None:
    """Refuse a model that was tuned from another base, or trained with other parameters.

    Args:
        base: what `base.model` of params.yaml would name, a folder or an embedded base.
        params: sections of params.yaml, as `dump_params` gives them.

    Raises:
        SystemExit: it was, with what differs.
    """
    record = read_lineage(model)
    other = [name for name, values in (params or {}).items() if record["params"].get(name) != values]
    if record["base"]["digest"] != resolve_base(Base(model=base)).digest:
        other.append("base")
    if other:
        raise SystemExit(f"{model} comes from a training with another {joined(other)}: train again, in another folder")
