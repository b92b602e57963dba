"""What a workspace is doing, what is up to date in it, and what to do next."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.files import read_json
from pipeline.layout import DATA, DATA_DVC, DVC_YAML, EVALUATION, PARAMS, REGISTRATION, REPORT_PAGE, STATE, TRAINED
from pipeline.lineage.dvc_stages import stage_names
from pipeline.lineage.git import GitRefused, GitSilent, open_git
from pipeline.params import load_params
from pipeline.registry.aliases import CHAMPION
from pipeline.registry.answers import answer_or_reason
from pipeline.registry.overview import overview
from pipeline.runs.dvc import run_dvc
from pipeline.runs.dvc_locks import is_held, is_writing, writing_since
from pipeline.runs.training_now import rows_since
from pipeline.runs.workspaces import LOCK, MARK, RUNS

SERVERS = STATE / "up" / "running.json"  # the process of `dreamtrace up` and its pages, while it runs
UP_TO_DATE, CHANGED, WAITS = "up to date", "has to run", "has to run, after the others"


@dataclass(frozen=True)
class Running:
    """A run at work: its name, its folder, and how far its training is (None: it does not train yet, or any more)."""

    name: str
    folder: str
    step: int | None
    steps: int | None


@dataclass
class Status:
    """`stages` says of each stage whether it is up to date; `uncommitted` are inputs that git does not have."""

    running: list[Running] = field(default_factory=list)
    stages: dict[str, str] = field(default_factory=dict)
    uncommitted: list[str] = field(default_factory=list)
    servers: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    next: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def read_status(workspace: Path) -> Status:
    """Look at a workspace; nothing is changed."""
    workspace = workspace.resolve()
    found = Status(running=runs_at_work(workspace), servers=_servers(workspace))
    try:
        found.stages = _stages(workspace)
    except (UserError, OSError, ValueError) as error:
        found.problems.append(str(error))
    found.uncommitted = _uncommitted(workspace)
    found.next = _next(workspace, found)
    return found


def runs_at_work(workspace: Path) -> list[Running]:
    """The runs that are at work in this workspace and in the clones of it."""
    found = [_running(workspace.name, workspace)] if is_writing(workspace) else []
    for mark in sorted((workspace / RUNS).glob(f"*/{MARK}")):
        folder = mark.parent.parent
        if is_held(folder / LOCK):
            found.append(_running(folder.name, folder))
    return found


def _running(name: str, folder: Path) -> Running:
    began = writing_since(folder, TRAINED)
    rows = [] if began is None else rows_since(folder, began)
    try:
        return Running(name, str(folder), int(rows[-1]["step"]), load_params(folder / PARAMS).train.steps)
    except (ValueError, TypeError, IndexError, UserError):
        return Running(name, str(folder), None, None)


def _alive(pid: Any) -> bool:
    if not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _servers(workspace: Path) -> dict[str, str]:
    try:
        known = read_json(workspace / SERVERS)
        return dict(known["pages"]) if _alive(known["pid"]) else {}
    except (OSError, ValueError, KeyError):
        return {}


def _stages(workspace: Path) -> dict[str, str]:
    """In the order of dvc.yaml; a stage after one that has to run may have to, too."""
    names = stage_names(workspace / DVC_YAML)
    changed = json.loads(run_dvc(workspace, "status", "--json"))
    found: dict[str, str] = {}
    for name in names:
        before = any(state != UP_TO_DATE for state in found.values())
        found[name] = CHANGED if name in changed else WAITS if before else UP_TO_DATE
    return found


def _uncommitted(workspace: Path) -> list[str]:
    """The inputs of a run that differ from the commit."""
    try:
        lines = open_git(workspace).lines("status", "--porcelain", "-z", "--", str(PARAMS), str(DATA_DVC))
    except (GitSilent, GitRefused):
        return []
    return [line[3:] for line in lines]


def _next(workspace: Path, status: Status) -> list[str]:
    if not (workspace / DATA).is_dir() and not (workspace / DATA_DVC).is_file():
        return ['dreamtrace new FOLDER --token gtwlb --class "plush toy"']
    if status.running:
        return ["wait: a run is at work"]
    steps = []
    if status.problems or any(state != UP_TO_DATE for state in status.stages.values()):
        steps += ["dreamtrace check", "dreamtrace run"]
    elif (workspace / REGISTRATION).is_file():
        steps += [f"open {workspace / REPORT_PAGE}", *_with_the_version(workspace, status)]
    if status.uncommitted:
        steps += [f"git add {' '.join(status.uncommitted)} && git commit (the pages and a promotion need a commit)"]
    return steps


def _with_the_version(workspace: Path, status: Status) -> list[str]:
    """What to do with the version that the last run registered; a registry that does not answer is a problem."""
    made = read_json(workspace / REGISTRATION)
    if not read_json(workspace / EVALUATION)["verdict"].get("promotable") or made.get("withdrawn"):
        return []
    name = f"models:/{made['model']}/{made['version']}"
    promote = f"dreamtrace promote {name} --reason WHY"
    every, reason = answer_or_reason(lambda: overview(workspace))
    if every is None:
        status.problems.append(f"what has become of {name} is unknown: {reason}")
        return [promote]
    version = next((one for one in every.get(made["model"], []) if one.reference == name), None)
    if version is None:
        return [f"dreamtrace run (the registry has no {name} any more: this registers it again)"]
    return [] if version.barred or CHAMPION in version.aliases else [promote]
