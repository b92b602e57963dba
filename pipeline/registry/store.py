"""The tracking store: MLflow's usual environment variables, or SQLite and a folder in the workspace."""

import logging
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

from pipeline.errors import NotNow, UserError, first_line
from pipeline.network.reachable import shown, silence
from pipeline.registry.artifacts import ARTIFACTS, PROXY, proxied_folder, read_proxied_addresses
from pipeline.registry.relocation import correct_addresses

if TYPE_CHECKING:
    from mlflow import MlflowClient

DATABASE, SQLITE = "mlflow.db", "sqlite:///"
FIRST_QUESTION = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
# MLflow's error codes that are an answer; with any other the store is away or broken.
ANSWERS = (
    "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "INVALID_PARAMETER_VALUE", "INVALID_STATE", "BAD_REQUEST",
    "PERMISSION_DENIED", "UNAUTHENTICATED", "NOT_FOUND", "ENDPOINT_NOT_FOUND", "FEATURE_DISABLED",
)  # fmt: skip


class StoreError(UserError):
    """The MLflow store holds something else than what is needed."""


class StoreSilent(StoreError, NotNow):
    """The MLflow store does not answer."""


def tracking_uri(workspace: Path) -> str:
    """MLFLOW_TRACKING_URI, or the database inside the workspace."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{(workspace / DATABASE).resolve()}"


def has_store(workspace: Path) -> bool:
    """Whether there is a registry to ask: somebody named one, or the workspace has its own."""
    named = os.environ.get("MLFLOW_TRACKING_URI") or os.environ.get("MLFLOW_REGISTRY_URI")
    return bool(named) or (workspace / DATABASE).is_file()


def is_named() -> bool:
    """Whether somebody told MLflow in this process which tracking store, or which registry, to use."""
    import mlflow

    return bool(mlflow.is_tracking_uri_set() or os.environ.get("MLFLOW_REGISTRY_URI"))


def connect(workspace: Path) -> "MlflowClient":
    """A client of the tracking store and registry; a new database is set up on the way.

    In a workspace that was moved or copied the addresses of its files are corrected first.

    Raises:
        StoreSilent: the store of MLFLOW_TRACKING_URI does not answer.
        StoreError: its database was made by another version of MLflow, or cannot be opened.
    """
    check_answers(workspace)
    uri = tracking_uri(workspace)
    for name in ("alembic", "mlflow.tracking", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)
    import mlflow

    # It logs every error of the database with its trace, and raises it, too: it is told once, by whoever asked.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)

    _check_database(uri)
    given = {name: os.environ.get(name) for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")}
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(given["MLFLOW_REGISTRY_URI"] or uri)
    for name, value in given.items():  # MLflow writes its choice there, where the next workspace would take it for ours
        if value is None:
            os.environ.pop(name, None)
    read_proxied_addresses()
    _correct_addresses(workspace, uri)
    with _impatient():
        # Databases, HTTP and migrations fail each in their own way; `explained` knows them, and lets defects pass.
        try:
            client = mlflow.MlflowClient()
            client.search_experiments(max_results=1)
        except Exception as error:
            if (known := explained(error, uri)) is not None:
                raise known from None
            raise
    return client


@contextmanager
def store_in_use() -> Iterator[None]:
    """Inside of the block `connect` takes the store that MLflow uses already, whatever the workspace."""
    import mlflow

    named = {"MLFLOW_TRACKING_URI": mlflow.get_tracking_uri(), "MLFLOW_REGISTRY_URI": mlflow.get_registry_uri()}
    before = {name: os.environ.get(name) for name in named}
    os.environ.update(named)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def check_answers(workspace: Path) -> None:
    """Ask the servers of the tracking store and of the registry for a sign of life; nothing is loaded for it.

    Raises:
        StoreSilent: one gives none.
        StoreError: it is a database that cannot be opened.
    """
    tracking = tracking_uri(workspace)
    for uri in dict.fromkeys((tracking, os.environ.get("MLFLOW_REGISTRY_URI") or tracking)):
        _check_database(uri)
        page = f"{uri.rstrip('/')}/health" if uri.startswith(("http://", "https://")) else uri
        if (reason := silence(page)) is not None:
            raise StoreSilent(
                f"the MLflow store at {shown(uri)} does not answer: {reason}; start it, or check MLFLOW_TRACKING_URI, "
                "then run the same command again"
            )


def explained(error: BaseException, uri: str | None = None) -> StoreError | None:
    """An error of MLflow, its database or its server as one sentence for a person; None where it is something else."""
    kind, text = type(error).__module__.split(".")[0], str(error)
    if kind not in ("mlflow", "sqlalchemy", "alembic", "sqlite3", "psycopg", "requests", "urllib3"):
        return None
    where = f"the MLflow store at {shown(uri or os.environ.get('MLFLOW_TRACKING_URI') or DATABASE)}"
    if "out-of-date database schema" in text or "Can't locate revision" in text:
        return StoreError(
            f"{where} was written by another version of MLflow: copy the database as a backup, then run "
            f"`mlflow db upgrade {shown(uri) if uri else 'DATABASE_URI'}`; if it was written by a newer one, "
            "upgrade MLflow here"
        )
    code = str(getattr(error, "error_code", ""))
    if kind == "mlflow" and code in ANSWERS:
        return StoreError(f"{where} refused: {first_line(error)}")
    return StoreSilent(f"{where} does not answer: {first_line(error)}")


def told(error: BaseException) -> UserError | None:
    """An error that a person can be told: itself where it is one already, or `explained`."""
    return error if isinstance(error, UserError) else explained(error)


@contextmanager
def _impatient() -> Iterator[None]:
    """The first question to a server: an answer within seconds or none, instead of MLflow's minutes of silence."""
    added = {name: value for name, value in FIRST_QUESTION.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _check_database(uri: str) -> None:
    """Refuse at once a database that cannot be opened: MLflow would try again for minutes.

    Raises:
        StoreError: its folder does not exist, or its path holds what no address of a database can.
    """
    path = uri.removeprefix(SQLITE)
    if path == uri or not path or path.startswith((":memory:", "?", "file:")):
        return
    if os.environ.get("MLFLOW_TRACKING_URI"):  # an address as somebody wrote it, with its own escapes
        path = unquote(path.partition("?")[0])
    elif "%" in path or "?" in path:
        raise StoreError(f"MLflow cannot open {path}: rename the folder so that its path has neither % nor ?")
    if not Path(path).absolute().parent.is_dir():
        raise StoreError(f"the MLflow database {path} cannot be opened: there is no folder {Path(path).parent}")


def _correct_addresses(workspace: Path, uri: str) -> None:
    database = (workspace / DATABASE).resolve()
    if uri != f"{SQLITE}{database}" or not database.is_file():
        return
    try:
        changed = correct_addresses(database, (workspace / ARTIFACTS).resolve())
    except sqlite3.Error as error:
        raise StoreError(f"the database {database} cannot be opened: {error}") from None
    if changed:
        print(
            f"this workspace was moved or copied: {changed} addresses in {DATABASE} now lead into {ARTIFACTS} here",
            file=sys.stderr,
        )


def experiment_id(client: "MlflowClient", name: str, workspace: Path) -> str:
    """The experiment called `name`, made where it is missing.

    One that is there keeps its files where they are: a DREAMTRACE_ARTIFACT_ROOT that names another place is a warning.

    Raises:
        StoreError: an experiment of that name was deleted and is still in MLflow's trash.
    """
    found = client.get_experiment_by_name(name)
    if found is not None:
        if found.lifecycle_stage == "deleted":
            raise StoreError(
                f"the MLflow experiment '{name}' was deleted; restore it with "
                f"`mlflow experiments restore -x {found.experiment_id}`, or set register.experiment to another name"
            )
        _warn_of_other_root(workspace, name, str(found.artifact_location))
        return str(found.experiment_id)
    tags = {
        "mlflow.experimentKind": "custom_model_development",  # pages of trainings, not of language models
        "mlflow.note.content": f"Trainings of {name} by dreamtrace, a run for each: its verdict and its version "
        "stand in its description, pictures and report among its artifacts.",
    }
    return client.create_experiment(name, artifact_location=artifact_root(workspace), tags=tags)


def artifact_root(workspace: Path) -> str | None:
    """Where a new experiment keeps its files: DREAMTRACE_ARTIFACT_ROOT, or beside an SQLite database, or in the
    workspace; None where that is for MLflow's server to say.
    """
    given = os.environ.get("DREAMTRACE_ARTIFACT_ROOT")
    return _address(given, workspace) if given else _usual_root(workspace)


def kept_files(workspace: Path, experiment: str) -> str | None:
    """Where the files of an experiment are, or will be, as far as this machine's disk tells: of one in an SQLite
    database its own location, else that of a new one; None where that is for MLflow's server to say.
    """
    uri = tracking_uri(workspace)
    if uri.startswith(SQLITE) and (path := workspace / unquote(uri.removeprefix(SQLITE).partition("?")[0])).is_file():
        with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as rows:
            found = rows.execute("SELECT artifact_location FROM experiments WHERE name = ?", (experiment,)).fetchone()
            if found and found[0]:
                location = str(found[0])
                if not location.startswith(f"{PROXY}:"):
                    return location
                folder = proxied_folder(f"{SQLITE}{path}")
                return folder.as_uri() if folder is not None else None
    return artifact_root(workspace)


def _address(given: str, workspace: Path) -> str:
    """An address of files as somebody wrote it; a path of this machine is relative to the workspace."""
    parsed = urlparse(given)
    if parsed.scheme not in ("", "file") or parsed.netloc:
        return given.rstrip("/")
    path = Path(unquote(parsed.path) if parsed.scheme else given).expanduser()
    return (workspace / path).resolve().as_uri()


def _warn_of_other_root(workspace: Path, name: str, location: str) -> None:
    """Say where the files of an experiment go, where DREAMTRACE_ARTIFACT_ROOT names another place."""
    root = artifact_root(workspace) if os.environ.get("DREAMTRACE_ARTIFACT_ROOT") else None
    if root in (None, _address(location, workspace), _usual_root(workspace)):
        return
    print(
        f"warning: files of the MLflow experiment '{name}' go to {shown(location)}, where it was made, and not to "
        f"{shown(str(root))}, as DREAMTRACE_ARTIFACT_ROOT says: only a new experiment takes that; set "
        "register.experiment to another name, or unset the variable",
        file=sys.stderr,
    )


def _usual_root(workspace: Path) -> str | None:
    uri = tracking_uri(workspace)
    if uri.startswith(("http://", "https://")):
        return None
    # A database that several workspaces share has its files beside it, and in none of them.
    folder = Path(uri.removeprefix(SQLITE)).parent if uri.startswith(SQLITE) else workspace
    return (folder / ARTIFACTS).resolve().as_uri()
