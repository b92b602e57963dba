"""Workspaces for one run each: a clone at a commit with the shared DVC cache, kept until its results are safe.

Two runs never share files that DVC or a trainer writes. What a run leaves is pushed to the DVC remote and saved as a
DVC experiment in the repository it came from; only then may its folder be removed.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import UserError
from pipeline.files import read_json, write_json, write_text
from pipeline.layout import PARAMS, STATE
from pipeline.params import parse_params

MARK = STATE / "workspace.json"
RUNS = STATE / "runs"  # where workspaces lie, in the repository that they are clones of
NAME = re.compile(r"^[a-z0-9][a-z0-9-]{0,62}$")


class WorkspaceError(UserError):
    """A workspace cannot be made, or its results cannot be kept; the message says which step failed and where."""


@dataclass(frozen=True)
class Kept:
    """What became of a run's results: each step that failed, in words; nothing where all are safe."""

    problems: list[str]


def open_workspace(
    source: Path, root: Path, name: str, commit: str = "HEAD", overrides: Mapping[str, Any] | None = None
) -> Path:
    """Clone the repository `source` at a commit into `root/name`, sharing its DVC cache.

    Args:
        overrides: parameters by dotted name ("train.steps") that differ from the commit's params.yaml.

    Raises:
        WorkspaceError: the name is taken or impossible, or git has no such commit.
        ParamsError: an override names no parameter, or the parameters do not fit together.
    """
    if not NAME.match(name):
        raise WorkspaceError(f"'{name}' cannot name a workspace: use small letters, digits and hyphens")
    target = root.resolve() / name
    if target.exists():
        raise WorkspaceError(f"{target} exists; every run has a workspace of its own")
    source = source.resolve()
    cache = _run(source, "dvc", "cache", "dir").strip()
    at = _run(source, "git", "rev-parse", "--verify", f"{commit}^{{commit}}").strip()
    root.mkdir(parents=True, exist_ok=True)
    try:
        _run(root, "git", "clone", "--quiet", "--no-checkout", str(source), str(target))
        _run(target, "git", "checkout", "--quiet", "--detach", at)
        local = source / ".dvc" / "config.local"  # remotes and credentials that are not in git
        if local.is_file():
            shutil.copy(local, target / ".dvc" / "config.local")
        _run(target, "dvc", "cache", "dir", "--local", str(Path(source, cache).resolve()))
        _override(target, overrides or {})
        write_json(target / MARK, {"source": str(source), "commit": at, "made": time.time(), "kept": False})
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    return target


def keep_results(workspace: Path) -> Kept:
    """Push to the DVC remote, and save the state as an experiment that `dvc exp show` lists in the source repository.

    The run must have finished: DVC saves no experiment that lacks an output. Each step is tried whatever became of the
    others; a workspace whose results are safe is marked so.
    """
    mark, problems = read_json(workspace / MARK), []
    steps = {
        "dvc push": ("dvc", "push", "--quiet"),
        "dvc exp save": ("dvc", "exp", "save", "--force", "--name", workspace.name),
        "dvc exp push": ("dvc", "exp", "push", "--quiet", "--force", "--no-cache", "origin", workspace.name),
    }
    for step, command in steps.items():
        try:
            _run(workspace, *command)
        except WorkspaceError as error:
            problems.append(f"{step}: {error}")
    write_json(workspace / MARK, {**mark, "kept": not problems})
    return Kept(problems)


def clean_workspaces(root: Path, days: float) -> tuple[list[Path], list[Path]]:
    """Remove workspaces older than `days` whose results are safe.

    Returns:
        Those that were removed, and those that are old but not safe: they stay.
    """
    removed, staying = [], []
    for mark in sorted(root.glob(f"*/{MARK}")):
        state, folder = read_json(mark), mark.parent.parent
        if time.time() - state["made"] < days * 86400:
            continue
        if state["kept"]:
            shutil.rmtree(folder)
            removed.append(folder)
        else:
            staying.append(folder)
    return removed, staying


def _override(workspace: Path, overrides: Mapping[str, Any]) -> None:
    if not overrides:
        return
    path = workspace / PARAMS
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name, value in overrides.items():
        *sections, last = name.split(".")
        inner = values
        for section in sections:
            inner = inner.get(section) if isinstance(inner, dict) else None
        if not isinstance(inner, dict) or last not in inner:
            raise WorkspaceError(f"{PARAMS} has no parameter '{name}' to override")
        inner[last] = value
    parse_params(values, f"{PARAMS} with overrides")
    write_text(path, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


def _run(folder: Path, program: str, *arguments: str) -> str:
    command = [sys.executable, "-m", "dvc", *arguments] if program == "dvc" else [program, *arguments]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or f"status {done.returncode}").splitlines()[-1]
        raise WorkspaceError(f"`{program} {' '.join(arguments[:2])}` failed in {folder}: {said}")
    return done.stdout
