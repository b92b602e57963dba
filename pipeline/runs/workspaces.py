"""Workspaces for one run each: a clone at a commit with the shared DVC cache, kept until its results are safe.

Two runs never share files that DVC or a trainer writes. What a run leaves is pushed to the DVC remote and saved as a
DVC experiment in the repository it came from; only then may its folder be removed.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

from pipeline.errors import UserError
from pipeline.files import read_json, write_json, write_text
from pipeline.layout import DATA, DATA_DVC, PARAMS, STATE
from pipeline.params import Params, parse_params
from pipeline.processes import complaint
from pipeline.runs.choices import Choices, chosen_values, read_values
from pipeline.runs.dvc import fetch_data
from pipeline.runs.photo_sources import copy_photos, fetch_source
from pipeline.runs.profiles import find_profile

MARK = STATE / "workspace.json"
RUNS = STATE / "runs"  # where workspaces lie, in the repository that they are clones of
MAKING = ".making-"
NAME = re.compile(r"^[a-z0-9][a-z0-9-]{0,62}$")


class WorkspaceError(UserError):
    """A workspace cannot be made, or its results cannot be kept; the message says which step failed and where."""


@dataclass(frozen=True)
class Kept:
    """What became of a run's results: each step that failed, in words; nothing where all are safe.

    `pushed` is False where the only DVC remote lies inside the repository.
    """

    problems: list[str]
    pushed: bool


def open_workspace(
    source: Path,
    root: Path,
    name: str,
    commit: str = "HEAD",
    choices: Choices | None = None,
    owner: str | None = None,
) -> Path:
    """Clone the repository `source` at a commit into `root/name`, sharing its DVC cache.

    Args:
        choices: what differs from the commit's params.yaml and photos.
        owner: who works there; asked for again by the same owner, the workspace is given back as it is, so that a run
            goes on where it was cut off.

    Raises:
        WorkspaceError: the name is taken or impossible, or git has no such commit.
        UserError: a choice names nothing, the parameters do not fit together, or the photos are not to be had.
    """
    if not NAME.match(name):
        raise WorkspaceError(f"'{name}' cannot name a workspace: use small letters, digits and hyphens")
    target = root.resolve() / name
    if target.exists():
        if owner and (target / MARK).is_file() and read_json(target / MARK).get("owner") == owner:
            return target
        raise WorkspaceError(f"{target} exists; every run has a workspace of its own")
    source = source.resolve()
    cache = _run(source, "dvc", "cache", "dir").strip()
    at = commit_of(source, commit)
    root.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=f"{MAKING}{name}-", dir=root)).resolve()
    try:
        _run(root, "git", "clone", "--quiet", "--no-checkout", str(source), str(making))
        _run(making, "git", "checkout", "--quiet", "--detach", at)
        local = source / ".dvc" / "config.local"  # remotes and credentials that are not in git
        if local.is_file():
            shutil.copy(local, making / ".dvc" / "config.local")
        _run(making, "dvc", "cache", "dir", "--local", str(Path(source, cache).resolve()))
        _choose(source, making, choices or Choices())
        facts = {"source": str(source), "commit": at, "made": time.time(), "kept": False, "owner": owner}
        facts["photos"] = bool((choices or Choices()).photos)
        write_json(making / MARK, facts)
        making.rename(target)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise
    return target


def commit_of(source: Path, name: str) -> str:
    """The commit that a branch, tag or short name stands for now.

    Raises:
        WorkspaceError: git has none of that name.
    """
    return _run(source, "git", "rev-parse", "--verify", f"{name}^{{commit}}").strip()


def params_of(source: Path, commit: str, choices: Choices) -> Params:
    """The parameters that a workspace of these choices would have; nothing is made.

    Raises:
        WorkspaceError: git has no such commit, or it holds no params.yaml.
        UserError: a choice names nothing, or the parameters do not fit together.
    """
    if choices.profile is not None:
        text = find_profile(choices.profile).path.read_text(encoding="utf-8")
    else:
        text = _run(source, "git", "show", f"{commit}:./{PARAMS}")
    return parse_params(chosen_values(read_values(text), choices, str(PARAMS)), str(PARAMS))


def fetch_photos(workspace: Path) -> None:
    """Get the photos of a workspace, whole: a folder that a fetch left half full is not taken for them.

    Raises:
        DataError: the DVC remote does not have them, or does not answer.
    """
    mark = read_json(workspace / MARK)
    if not mark["photos"]:
        shutil.rmtree(workspace / DATA, ignore_errors=True)
        fetch_data(workspace)
        write_json(workspace / MARK, {**mark, "photos": True})


def keep_results(workspace: Path) -> Kept:
    """Push to the DVC remote, and save the state as an experiment that `dvc exp show` lists in the source repository.

    The run must have finished: DVC saves no experiment that lacks an output. Each step is tried whatever became of the
    others; a workspace whose results are safe is marked so. A remote that lies inside the repository holds what is
    committed with it and gets nothing more: there the results are in the source's own cache, which outlives the
    workspace.
    """
    mark, problems = read_json(workspace / MARK), []
    # pipelines in folders below are none of the run's: without targets DVC would miss their outputs
    targets = ["dvc.yaml", *([str(DATA_DVC)] if (workspace / DATA_DVC).is_file() else [])]
    steps = {
        "dvc push": ("dvc", "push"),
        "dvc exp save": ("dvc", "exp", "save", "--force", "--name", workspace.name, *targets),
        "dvc exp push": ("dvc", "exp", "push", "--force", "--no-cache", "origin", workspace.name),
    }
    inside = _remote_inside(workspace)
    if inside:
        del steps["dvc push"]
    for step, command in steps.items():
        try:
            _run(workspace, *command)
        except WorkspaceError as error:
            problems.append(f"{step}: {error}")
    write_json(workspace / MARK, {**mark, "kept": not problems})
    return Kept(problems, not inside)


def clean_workspaces(root: Path, days: float) -> tuple[list[Path], list[Path]]:
    """Remove workspaces older than `days` whose results are safe.

    Returns:
        Those that were removed, and those that are old but not safe: they stay.
    """
    removed, staying = [], []
    for folder in root.glob(f"{MAKING}*"):  # a clone that was never finished
        if time.time() - folder.stat().st_mtime > 86400:
            shutil.rmtree(folder)
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


def _choose(source: Path, workspace: Path, choices: Choices) -> None:
    path = workspace / PARAMS
    if choices.profile is not None:
        path.write_bytes(find_profile(choices.profile).path.read_bytes())
    if choices.subject is not None or choices.overrides:
        values = chosen_values(read_values(path.read_text(encoding="utf-8")), choices, str(PARAMS))
        write_text(path, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
    if choices.photos:
        copy_photos(fetch_source(choices.photos, source), workspace / DATA)
        _run(workspace, "dvc", "add", str(DATA))


def _remote_inside(workspace: Path) -> bool:
    try:
        name = _run(workspace, "dvc", "config", "core.remote").strip()
        url = _run(workspace, "dvc", "config", f"remote.{name}.url").strip()
    except WorkspaceError:
        return False  # no default remote: the push itself says so
    return "://" not in url and (workspace / ".dvc" / url).resolve().is_relative_to(workspace.resolve())


def _run(folder: Path, program: str, *arguments: str) -> str:
    command = [sys.executable, "-m", "dvc", *arguments] if program == "dvc" else [program, *arguments]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise WorkspaceError(f"`{program} {' '.join(arguments[:2])}` failed in {folder}: {complaint(done)}")
    return done.stdout
