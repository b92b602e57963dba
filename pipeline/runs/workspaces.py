"""Workspaces for one run each: a clone at a commit with the shared DVC cache, kept until its results are safe.

Two runs never share files that DVC or a trainer writes. What a run leaves is pushed to the DVC remote and saved as a
DVC experiment in the repository it came from; only then may its folder be removed.
"""

import fcntl
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from pipeline.base.named_paths import path_parameters
from pipeline.errors import UserError
from pipeline.files import digest_value, read_json, write_bytes, write_json, write_text
from pipeline.layout import DATA, DATA_DVC, DVC_YAML, PARAMS, PREPARED, REGISTRATION, SELECTED, STATE, TRAINED_MODEL
from pipeline.lineage.git import without_repository
from pipeline.params import Params, Subject, dump_params, load_params, parse_params
from pipeline.processes import complaint
from pipeline.runs.choices import Choices, chosen_values, read_values
from pipeline.runs.dvc import dvc_settings, fetch_data, run_dvc, write_settings
from pipeline.runs.photo_sources import copy_photos, fetch_source
from pipeline.runs.profiles import profile_text

MARK, LOCK = STATE / "workspace.json", STATE / "workspace.lock"
RUNS = STATE / "runs"  # where workspaces lie, in the repository that they are clones of
MAKING = ".making-"
NAME = re.compile(r"^[a-z0-9][a-z0-9-]{0,62}$")
NAMES = "use small letters, digits and hyphens, at most 63"


class WorkspaceError(UserError):
    """A workspace cannot be made, or its results cannot be kept; the message says which step failed and where."""


def open_workspace(
    source: Path,
    root: Path,
    name: str,
    commit: str = "HEAD",
    choices: Choices | None = None,
    owner: str | None = None,
) -> Path:
    """Clone the repository `source` at a commit into `root/name`, sharing its DVC cache.

    A workspace of this name whose run has not finished is returned as it is, so that the run resumes, where the same
    owner asks for it, or the same commit and choices are asked for.

    Args:
        choices: what differs from the commit's params.yaml and photos.
        owner: the run that works there.

    Raises:
        WorkspaceError: the name is taken or impossible, another run is working there, git has no such commit, or a
            folder that a parameter names is missing.
        UserError: a choice names no parameter, the parameters do not fit together, or the photos are not available.
    """
    source, target, choices = source.resolve(), root.resolve() / name, choices or Choices()
    if problems := name_problems(source, root, name, commit, choices, owner):
        raise WorkspaceError("; ".join(problems))
    if target.exists():
        with occupied(target):
            if not (target / PREPARED).exists():  # they may have been mended since
                if choices.photos:
                    _take_photos(source, target, choices.photos)
                elif "HEAD" in (commit, read_mark(target).get("asked")):
                    _take_tracked(source, target)
        return target
    at = commit_of(source, commit)
    root.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=f"{MAKING}{name}-", dir=root)).resolve()
    try:
        _git(root, "clone", "--quiet", "--no-checkout", str(source), str(making))
        _git(making, "checkout", "--quiet", "--detach", at)
        _share_dvc_settings(source, making)
        _choose(source, making, choices)
        _link_folders(source, making)
        facts = {"source": str(source), "commit": at, "made": time.time(), "kept": False, "owner": owner}
        facts |= {
            "asked": commit,
            "request": _request(at, choices),
            "photos": bool(choices.photos),
            "choices": _as_values(choices),
        }
        write_json(making / MARK, facts)
        making.rename(target)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise
    return target


def finished_workspace(
    source: Path, root: Path, name: str, commit: str, choices: Choices, owner: str | None
) -> Path | None:
    """The workspace where an earlier try of the run `owner` did all that is asked for, and kept it; None without one.

    Raises:
        WorkspaceError: git has no such commit; or as `read_mark`.
    """
    target = root.resolve() / name
    mark = read_mark(target)
    if not owner or mark.get("owner") != owner or not mark["kept"]:
        return None
    at = mark["commit"] if commit == "HEAD" else commit_of(source, commit)  # HEAD may have moved between two tries
    return target if mark["request"] == _request(at, choices) else None


def name_problems(
    source: Path, root: Path, name: str, commit: str, choices: Choices, owner: str | None = None
) -> list[str]:
    """Why a run of this name and commit cannot be opened under `root`: sentences; nothing is made.

    Raises:
        WorkspaceError: git does not answer.
    """
    if not NAME.match(name):
        return [f"'{name}' cannot name a workspace: {NAMES}"]
    target, problems = root.resolve() / name, []
    try:
        at, state = commit_of(source, commit), read_mark(target)
    except WorkspaceError as error:
        return [str(error)]
    if target.exists():
        same = state.get("request") == _request(at, choices) or (owner and state.get("owner") == owner)
        if state.get("kept", True) or not same:
            problems.append(
                f"{target} exists and is of another run; choose another name, or remove it (`dreamtrace runs clean "
                "--days 0` removes runs whose results are safe)"
            )
    elif _experiment_exists(source, name):
        problems.append(
            f"{source} has an experiment '{name}', whose results would be replaced; choose another name, or remove it: "
            f"dvc exp remove {name}"
        )
    return problems


@contextmanager
def occupied(workspace: Path) -> Iterator[None]:
    """Hold a workspace for one run: two at once would write the same files.

    Raises:
        WorkspaceError: another run is working there.
    """
    with (workspace / LOCK).open("a") as file:  # which leaves its time alone: it tells how long a run has been idle
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise WorkspaceError(
                f"another run is working in {workspace}; wait for it, or choose another name"
            ) from None
        yield


def read_mark(workspace: Path) -> dict[str, Any]:
    """What a workspace was opened with, and whether its results are kept (`kept`); {} of a folder that is none.

    Raises:
        WorkspaceError: that is damaged.
    """
    file = workspace / MARK
    try:
        mark = read_json(file) if file.is_file() else {}
        if mark == {} or isinstance(mark["kept"], bool):
            return dict(mark)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise WorkspaceError(
        f"{file} is damaged, so nobody knows whether the results in {workspace} are kept: take out what you need, then "
        "remove that folder"
    )


def is_kept(workspace: Path) -> bool:
    """Whether the results of a workspace are known to be kept; not where what says so is damaged."""
    try:
        return read_mark(workspace).get("kept") is True
    except WorkspaceError:
        return False


def is_unfinished(workspace: Path) -> bool:
    """Whether a folder is a workspace whose results are not kept yet.

    Raises:
        WorkspaceError: as `read_mark`.
    """
    return read_mark(workspace).get("kept") is False


def begun_with(source: Path, workspace: Path) -> tuple[str, Choices] | None:
    """Commit and choices that an unfinished workspace was opened with, to go on in it; "HEAD" where that is the commit.

    None where there is no such workspace, or an older dreamtrace opened it.
    """
    mark = read_mark(workspace)
    if mark.get("kept") is not False or "choices" not in mark:
        return None
    made = dict(mark["choices"])
    subject = Subject.model_validate(made["subject"]) if made["subject"] else None
    commit = "HEAD" if mark["commit"] == commit_of(source, "HEAD") else str(mark["commit"])
    return commit, Choices(**{**made, "subject": subject})


def commit_of(source: Path, name: str) -> str:
    """The commit that a branch, tag or short name stands for now.

    Raises:
        WorkspaceError: git has none of that name.
    """
    try:
        return _git(source, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}").strip()
    except WorkspaceError as error:
        if not (source / ".git").exists() or "dubious ownership" in str(error):
            raise
        raise WorkspaceError(f"{source} has no commit, branch or tag '{name}'") from None


def committed_texts(source: Path, commit: str, choices: Choices) -> tuple[str, str]:
    """dvc.yaml and params.yaml as a workspace of a commit has them, with the profile of the choices, if any.

    Raises:
        WorkspaceError: git has no such commit, or it does not hold the files.
    """
    at = commit_of(source, commit)
    pipeline, text = (_git(source, "show", "--end-of-options", f"{at}:./{file}") for file in (DVC_YAML, PARAMS))
    return pipeline, text if choices.profile is None else _profile(choices.profile, text)


def params_of(source: Path, commit: str, choices: Choices) -> Params:
    """The parameters that a workspace of these choices would have; nothing is made.

    Raises:
        WorkspaceError: git has no such commit, or it holds no params.yaml.
        UserError: a choice names no parameter, or the parameters do not fit together.
    """
    _, text = committed_texts(source, commit, choices)
    return parse_params(chosen_values(read_values(text), choices, str(PARAMS)), str(PARAMS))


def fetch_photos(workspace: Path) -> None:
    """Get the photos of a workspace; a folder that an interrupted fetch left incomplete is fetched again.

    Raises:
        DataError: the DVC remote does not have them, or does not answer.
    """
    mark = read_mark(workspace)
    if not mark["photos"]:
        shutil.rmtree(workspace / DATA, ignore_errors=True)
        fetch_data(workspace)
        write_json(workspace / MARK, {**mark, "photos": True})


def has_result(workspace: Path) -> bool:
    """Whether the run of a workspace came as far as a trained model."""
    return any((workspace / made).exists() for made in (TRAINED_MODEL, SELECTED, REGISTRATION))


def how_to_finish(workspace: Path) -> str:
    """What a person does about an isolated run whose results are not safe yet."""
    again = f"`dreamtrace run --isolated {workspace.name}` finishes it and saves them"
    try:
        mark = read_mark(workspace)
    except WorkspaceError:
        return f"that is not certain, because its {MARK} is damaged: look into the folder, and remove it by hand"
    if "choices" not in mark:  # an older dreamtrace opened it
        again += ", with the --at and --set that it was begun with; or *Retry* on its page does"
    return again


def clean_workspaces(root: Path, days: float) -> tuple[list[Path], list[Path], list[Path]]:
    """Remove workspaces whose results have been safe for `days`.

    Returns:
        The folders that were removed; of the old ones that stay, those where a run is at work, and those whose results
        are not safe yet.
    """
    removed, working, staying = [], [], []
    for folder in root.glob(f"{MAKING}*"):  # a clone that was never finished
        if time.time() - folder.stat().st_mtime > 86400:
            shutil.rmtree(folder)
    for mark in sorted(root.glob(f"*/{MARK}")):
        folder = mark.parent.parent
        if folder.is_symlink() or time.time() - mark.stat().st_mtime < days * 86400:  # written when results are safe
            continue
        try:
            with occupied(folder):
                if is_kept(folder):
                    shutil.rmtree(folder)
                    removed.append(folder)
                else:
                    staying.append(folder)
        except WorkspaceError:
            working.append(folder)
    return removed, working, staying


def _request(commit: str, choices: Choices) -> str:
    return digest_value({"commit": commit, "choices": _as_values(choices)})


def _as_values(choices: Choices) -> dict[str, Any]:
    subject = choices.subject.model_dump() if choices.subject else None
    return {**vars(choices), "subject": subject, "overrides": dict(choices.overrides)}


def _share_dvc_settings(source: Path, clone: Path) -> None:
    """Cache, remotes and credentials of the source; paths that are relative to it become absolute."""
    local = source / ".dvc" / "config.local"  # remotes and credentials that are not in git
    if local.is_file():
        write_bytes(clone / ".dvc" / "config.local", local.read_bytes(), private=True)
    settings = {"cache.dir": str(Path(source, run_dvc(source, "cache", "dir").strip()).resolve())}
    here, there = dvc_settings(source), dvc_settings(clone)
    for name, value in here.items():
        if Path(value).is_absolute() and there.get(name) != value and not name.startswith("cache."):
            settings[name] = value
    write_settings(clone / ".dvc" / "config.local", settings)


def _choose(source: Path, workspace: Path, choices: Choices) -> None:
    path = workspace / PARAMS
    if choices.profile is not None:
        write_text(path, _profile(choices.profile, path.read_text(encoding="utf-8")))
    if choices.subject is not None or choices.overrides:
        values = chosen_values(read_values(path.read_text(encoding="utf-8")), choices, str(PARAMS))
        write_text(path, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
    if choices.photos:
        _take_photos(source, workspace, choices.photos)


def _profile(name: str, text: str) -> str:
    """A preset with the subject of the params.yaml that is committed."""
    return profile_text(name, dump_params(parse_params(read_values(text), f"the committed {PARAMS}")))[0]


def _take_photos(source: Path, workspace: Path, photos: str) -> None:
    copy_photos(fetch_source(photos, source), workspace / DATA)
    run_dvc(workspace, "add", "--quiet", str(DATA))


def _take_tracked(source: Path, workspace: Path) -> None:
    """The photos that `data.dvc` of the source names now, committed or not, if the subject there is still the same."""
    here, there = source / DATA_DVC, workspace / DATA_DVC
    if not here.is_file() or not there.is_file() or here.read_bytes() == there.read_bytes():
        return
    mark = read_json(workspace / MARK)
    try:
        now = read_values((source / PARAMS).read_text(encoding="utf-8"))["subject"]
        then = read_values(_git(workspace, "show", f"{mark['commit']}:./{PARAMS}"))["subject"]
    except (UserError, OSError, KeyError, TypeError):
        return
    if now == then:
        print(f"the photos are taken anew, as {here} names them now")
        write_bytes(there, here.read_bytes())
        write_json(workspace / MARK, {**mark, "photos": False})


def _link_folders(source: Path, workspace: Path) -> None:
    """Folders and files that parameters name and git does not hold, such as judges and bases, linked from the source.

    Raises:
        WorkspaceError: one of them is missing in the source, or outside of it.
    """
    problems = []
    for key, value in _named_paths(load_params(workspace / PARAMS)):
        if not (source / value).exists():
            if value.startswith(("./", "../")):
                problems.append(f"{key} names '{value}', but {source / value} does not exist")
        elif ".." in Path(value).parts:
            problems.append(f"{key} names '{value}', which is outside of the repository: write it as an absolute path")
        elif not (workspace / value).exists():
            (workspace / value).parent.mkdir(parents=True, exist_ok=True)
            (workspace / value).symlink_to((source / value).resolve())
    if problems:
        raise WorkspaceError("; ".join(problems))


def _named_paths(params: Params) -> list[tuple[str, str]]:
    """The parameters that may name a file or folder, and their values where these are relative."""
    named = path_parameters(params)
    return [(key, value) for key, value in named.items() if value and not value.startswith(("/", "~"))]


def _experiment_exists(source: Path, name: str) -> bool:
    refs = _git(source, "for-each-ref", "--format=%(refname)", "refs/exps").split()
    return any(ref.rpartition("/")[2] == name for ref in refs)


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "core.hooksPath=/dev/null", *arguments]
    done = subprocess.run(command, cwd=folder, env=without_repository(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise WorkspaceError(f"`git {arguments[0]}` failed in {folder}: {complaint(done)}")
    return done.stdout
