"""The registry's files: read where they are, or fetched on demand into a temporary folder."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from pipeline.errors import NotNow, UserError, first_line
from pipeline.network.reachable import endpoint_of_s3, silence

ARTIFACTS = "mlartifacts"
PROXY = "mlflow-artifacts"
DATABASE = "sqlite:///"


class ArtifactsAway(UserError):
    """Files that the registry names cannot be read from this machine."""


class ArtifactsMissing(ArtifactsAway):
    """The store was asked and has no such files."""


class ArtifactsSilent(ArtifactsAway, NotNow):
    """The store of the registry's files does not answer."""


class Artifacts:
    """Files by their MLflow address. What is on this machine is read in place, the rest is fetched into `scratch`."""

    def __init__(self, client: Any, scratch: Path):
        self.client, self.scratch = client, scratch

    def of_run(self, run_id: str | None, path: str) -> Path:
        """A file or folder among a run's artifacts.

        Raises:
            ArtifactsAway: the run or the file does not exist, or its store does not answer.
        """
        from mlflow.exceptions import MlflowException

        if not run_id:  # a version that somebody made by hand
            raise ArtifactsAway("the version names no run")
        try:
            root = str(self.client.get_run(run_id).info.artifact_uri)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise ArtifactsAway(f"MLflow could not be asked for run {run_id} ({first_line(error)})") from None
            raise ArtifactsMissing(f"MLflow has no run {run_id} any more ({first_line(error)})") from None
        return self.at(f"{root.rstrip('/')}/{path}")

    def at(self, uri: str) -> Path:
        """A file or folder at an address.

        Raises:
            ArtifactsAway: there is nothing there, or its store does not answer.
        """
        local = local_path(uri)
        if local is not None:
            if local.exists():
                return local
            raise ArtifactsMissing(f"{local} does not exist")
        check_answers(uri)
        from mlflow.artifacts import download_artifacts

        self.scratch.mkdir(parents=True, exist_ok=True)
        target = self.scratch / f"{len(list(self.scratch.iterdir())):03d}"
        target.mkdir()
        # Each kind of store has errors of its own (botocore, requests, OSError); all of them mean that it is away.
        try:
            return Path(download_artifacts(artifact_uri=uri, dst_path=str(target)))
        except Exception as error:
            kind = ArtifactsMissing if _nothing_at(uri) else ArtifactsAway
            raise kind(f"{uri} cannot be read: {first_line(error)}") from None

    def without(self, uri: str, name: str) -> Path:
        """A folder at an address but for its subfolder `name`, which is not fetched.

        Raises:
            ArtifactsAway: there is nothing there, or its store does not answer.
        """
        local = local_path(uri)
        if local is not None:
            return self.at(uri)
        check_answers(uri)
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        try:
            entries = get_artifact_repository(uri).list_artifacts()
        except Exception as error:
            raise ArtifactsAway(f"{uri} cannot be read: {first_line(error)}") from None
        target = self.scratch / f"{len(list(self.scratch.iterdir())):03d}"
        target.mkdir()
        for entry in entries:
            if entry.path.strip("/") != name:
                self.at(f"{uri.rstrip('/')}/{entry.path}").rename(target / Path(entry.path).name)
        return target


def _nothing_at(uri: str) -> bool:
    """Whether the store answers and has neither a file nor a folder at an address."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    parent, _, name = uri.rstrip("/").rpartition("/")
    try:
        entries = get_artifact_repository(parent).list_artifacts()
    except Exception:  # each kind of store has errors of its own
        return False
    return name not in {Path(entry.path).name for entry in entries}


def check_answers(uri: str) -> None:
    """Ask the store of an address for a sign of life, where it is an S3 that is not Amazon's.

    Raises:
        ArtifactsSilent: it gives none.
    """
    endpoint = os.environ.get("MLFLOW_S3_ENDPOINT_URL") or endpoint_of_s3()
    if uri.startswith("s3://") and endpoint and (reason := silence(endpoint)) is not None:
        raise ArtifactsSilent(
            f"{uri} cannot be reached: the S3 at {endpoint} does not answer: {reason}; start it, or check "
            "MLFLOW_S3_ENDPOINT_URL, then run the same command again"
        )


def local_path(uri: str) -> Path | None:
    """The path of an address on this machine's disk; None where it names another store.

    An address of an MLflow server's own store (`mlflow-artifacts:`) is a folder beside the SQLite database, where
    that is used without the server.
    """
    parsed = urlparse(uri)
    if parsed.scheme in ("", "file"):
        return Path(unquote(parsed.path))
    if parsed.scheme == PROXY and (folder := proxied_folder()) is not None:
        return folder / unquote(parsed.path).lstrip("/")
    return None


def proxied_folder(store: str = "") -> Path | None:
    """Where `dreamtrace up` keeps what clients send through it, as far as that is a folder of this machine.

    That is MLFLOW_ARTIFACTS_DESTINATION, a path or an address; a path is relative to the folder of the SQLite database,
    in which `dreamtrace up` starts MLflow. Without the variable it is `mlartifacts` beside the database.

    Args:
        store: the address of the tracking store; '': the one that MLflow uses in this process.
    """
    import mlflow

    uri = store or str(mlflow.get_tracking_uri())
    if not uri.startswith(DATABASE):
        return None
    folder = Path(uri.removeprefix(DATABASE)).resolve().parent
    given = os.environ.get("MLFLOW_ARTIFACTS_DESTINATION") or ARTIFACTS
    parsed = urlparse(given)
    if parsed.scheme not in ("", "file"):
        return None
    return folder / unquote(parsed.path if parsed.scheme else given)


def read_proxied_addresses() -> None:
    """Let MLflow itself read and write `mlflow-artifacts:` addresses without a server, where `local_path` can."""
    from mlflow.store.artifact.artifact_repository_registry import _artifact_repository_registry
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
    from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository

    def repository(artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> Any:
        local = local_path(artifact_uri)
        if local is not None and not str(tracking_uri or "").startswith("http"):
            return LocalArtifactRepository(local.as_uri(), tracking_uri=tracking_uri, registry_uri=registry_uri)
        return MlflowArtifactsRepository(artifact_uri, tracking_uri=tracking_uri, registry_uri=registry_uri)

    _artifact_repository_registry.register(PROXY, repository)
