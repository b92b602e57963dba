"""The main job in a workspace of its own: what a deployment runs, so that many can run at once on one host."""

import os
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from flows.forms import AS_COMMITTED, ProfileChoice, SubjectChoice, check_form, choices_of
from flows.stage_sequence import bring_up_to_date
from pipeline.errors import UserError, all_problems
from pipeline.files import read_json
from pipeline.layout import PARAMS, REGISTRATION
from pipeline.params import load_params
from pipeline.registry.store import artifact_root, tracking_uri
from pipeline.runs.checks import check_run, gate_warnings
from pipeline.runs.results import keep_results
from pipeline.runs.workspaces import RUNS, fetch_photos, finished_workspace, occupied, open_workspace


class RunRefused(UserError):
    """The run can be seen to go wrong: the message lists every problem."""


class ResultsNotSafe(RuntimeError):
    """The run is finished and registered, but its files exist only in its workspace."""


def name_of_run() -> str:
    """The chosen name, or one from the flow run's id, so that a retry finds the same workspace."""
    return str(flow_run.get_parameters().get("name") or f"run-{str(flow_run.get_id() or 'alone')[:8]}")


@flow(name="fine-tune-isolated", flow_run_name=name_of_run)
def fine_tune_isolated(
    subject: SubjectChoice = SubjectChoice(),  # noqa: B008
    profile: ProfileChoice = AS_COMMITTED,
    overrides: dict[str, Any] = {},  # noqa: B006
    photos: str = AS_COMMITTED,
    name: str = "",
    commit: str = "HEAD",
    source: Path = Path(),
    runs: Path | None = None,
) -> dict[str, Any]:
    """Clone the repository at a commit, fine-tune there, and bring the results back; returns what `register` wrote.

    Parameters are checked against base, suites, judges and photos before the first stage runs.

    A run that failed leaves its workspace; its log says where, and a retry goes on in it. A retry of one that finished
    returns what it registered. One that finished is pushed
    to the DVC remote and saved as an experiment of the repository (`dvc exp show`), whatever becomes of the folder.

    Args:
        subject: another subject than the committed one; its photos are called by its token.
        profile: a preset of parameters; the committed subject is carried over.
        overrides: parameters by dotted name, such as {"train.steps": 400}.
        photos: where photos come from; `definitions.photo_places` in prefect.yaml lists the places.
        name: of the run, its workspace and its experiment; empty: made up.
        commit: what runs is this commit, branch or tag: changes that are not committed are not seen.
        source: the repository with dvc.yaml, on the worker's host.
        runs: folder of the workspaces; none: .dreamtrace/runs in the repository.
    """
    check_form(source, photos, (source != Path(), runs))
    source = source.resolve()
    owner = flow_run.get_root_flow_run_id()
    choices = choices_of(subject, profile, overrides, photos)
    asked = (source, runs or source / RUNS, name or name_of_run(), commit, choices, owner)
    finished = finished_workspace(*asked)
    if finished is not None:
        get_run_logger().info(f"an earlier try of this run finished in {finished}")
        return dict(read_json(finished / REGISTRATION))
    workspace = open_workspace(*asked)
    get_run_logger().info(f"workspace {workspace}")
    with occupied(workspace), registry_of(source):
        fetch(workspace)
        if not (workspace / REGISTRATION).is_file():  # a finished one only has to be kept
            check(workspace)
        registration = bring_up_to_date(workspace)
        keep(workspace)
    return registration


@contextmanager
def registry_of(source: Path) -> Iterator[None]:
    """All runs of a repository share its registry and its folder of artifacts, whatever folder they work in.

    A database or folder that a variable names by a relative path is the repository's own, not one of each clone. Files
    are where a run in the repository itself would put them.
    """
    names = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "DREAMTRACE_ARTIFACT_ROOT")
    before = {name: os.environ.get(name) for name in names}
    os.environ["MLFLOW_TRACKING_URI"] = absolute_database(before["MLFLOW_TRACKING_URI"] or tracking_uri(source), source)
    if before["MLFLOW_REGISTRY_URI"]:
        os.environ["MLFLOW_REGISTRY_URI"] = absolute_database(before["MLFLOW_REGISTRY_URI"], source)
    if (root := artifact_root(source)) is not None:
        os.environ["DREAMTRACE_ARTIFACT_ROOT"] = root
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            os.environ.update({name: value} if value is not None else {})


def absolute_database(uri: str, folder: Path) -> str:
    """The address of an SQLite database, or of a folder that is a store, with an absolute path; `folder` is what a
    relative one is relative to.
    """
    if "://" not in uri and not uri.startswith("databricks"):
        return (folder / uri.removeprefix("file:")).resolve().as_uri()
    prefix, path = "sqlite:///", uri.removeprefix("sqlite:///")
    if not uri.startswith(prefix) or path.startswith(("/", ":memory:", "file:")) or not path:
        return uri
    return f"{prefix}{(folder / path).resolve()}"


@task(cache_policy=NO_CACHE, task_run_name="fetch photos")
def fetch(workspace: Path) -> None:
    """The photos, from the shared cache or the DVC remote."""
    fetch_photos(workspace)


@task(cache_policy=NO_CACHE, task_run_name="check")
def check(workspace: Path) -> None:
    """What a command checks before it starts a run, for runs that a form or a schedule starts.

    Raises:
        ParamsError: params.yaml cannot be used.
        RunRefused: it does not fit the base, the suites, the judges or the photos; every problem is listed.
    """
    params = load_params(workspace / PARAMS)
    with chdir(workspace):  # where relative paths in params.yaml are meant, as in the stages
        problems = check_run(Path(), params)
    if problems:
        raise RunRefused(all_problems(str(PARAMS), problems))
    for warning in gate_warnings(params):
        get_run_logger().warning(warning)


@task(cache_policy=NO_CACHE, task_run_name="keep results", retries=3, retry_delay_seconds=[10, 60, 300])
def keep(workspace: Path) -> None:
    """Push and save; tried four times.

    Raises:
        ResultsNotSafe: a step failed; `dreamtrace runs clean` keeps the workspace.
    """
    kept = keep_results(workspace)
    if kept.problems:
        raise ResultsNotSafe(
            f"the results exist only in {workspace}, because saving them failed: " + "; ".join(kept.problems)
        )
    if not kept.pushed:
        get_run_logger().warning(
            "nothing was pushed: the DVC remote is a folder of this repository, and the results are in its DVC cache"
        )
