"""From whatever a person has in hand to its record: a version, an alias, a run, a model folder, one file, an image."""

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.layout import EVALUATION, PARAMS
from pipeline.lineage.header import read_header
from pipeline.lineage.links import Link
from pipeline.lineage.read import read_lineage
from pipeline.registry.picture_lookup import PICTURES, read_picture
from pipeline.registry.store import connect
from pipeline.registry.versions import find_version, record_folder, versions_with

REFERENCE = re.compile(r"^models:/(?P<name>[^/@]+)(@(?P<alias>[^/@]+)|/(?P<version>\d+))$")
RUN = re.compile(r"^(runs:/)?(?P<run>[0-9a-f]{32})$")
DRAWN = ("prompt", "seed", "steps", "guidance")
FORMS = "models:/NAME@ALIAS, models:/NAME/VERSION, a run's id, a model folder, a safetensors file or a drawn picture"


class UnknownVersion(UserError):
    """The reference names nothing, or nothing that has a record."""


@dataclass(frozen=True)
class Found:
    """What a reference led to.

    `facts` are shown above the record. `model` is a folder with the weights, `tags` the version's, `files` the record
    as it lies in the run's artifacts, `header` what a single file says of itself; each None where there is none.
    `own_links` are checks of the file that was asked about, made while it was read.
    """

    title: str
    lineage: dict[str, Any]
    facts: dict[str, str] = field(default_factory=dict)
    model: Path | None = None
    tags: dict[str, str] | None = None
    files: Path | None = None
    header: dict[str, Any] | None = None
    own_links: tuple[Link, ...] = ()


@contextmanager
def find_record(workspace: Path, ref: str) -> Iterator[Found]:
    """What `ref` names; files that had to be fetched are there until the block ends.

    Raises:
        UnknownVersion: of no known form, or not to be found.
        LineageError: what it names holds no record.
    """
    with tempfile.TemporaryDirectory() as folder:
        yield _find(workspace, ref, Path(folder))


def _find(workspace: Path, ref: str, scratch: Path) -> Found:
    if match := REFERENCE.match(ref):
        client = connect(workspace)
        return _version(client, _numbered(client, match, ref), scratch)
    if match := RUN.match(ref):
        return _run(connect(workspace), match["run"], scratch)
    path = Path(ref)
    if path.is_dir():
        return Found(ref, read_lineage(path), model=path)
    if path.is_file() and path.suffix == ".safetensors":
        return _file(workspace, path, read_header(path), scratch)
    if path.is_file() and path.suffix.lower() in PICTURES:
        record, link = read_picture(workspace, path)
        return replace(_file(workspace, path, record, scratch), own_links=(link,))
    raise UnknownVersion(f"cannot trace '{ref}': it is not {FORMS}")


def _numbered(client: Any, match: re.Match[str], ref: str) -> Any:
    from mlflow.exceptions import MlflowException

    name = match["name"]
    try:
        number = match["version"] or client.get_model_version_by_alias(name, match["alias"]).version
        return client.get_model_version(name, number)
    except MlflowException:
        raise UnknownVersion(f"the registry has no {ref}; {_known(client, name)}") from None


def _version(client: Any, version: Any, scratch: Path) -> Found:
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    title = f"{version.name} version {version.version}"
    files = _record_files(version.run_id, title, scratch, record_folder(str(version.tags.get("content_digest"))))
    lineage = _own(version, title, read_lineage(files))
    try:
        stored = Path(
            download_artifacts(artifact_uri=client.get_model_version_download_uri(version.name, version.version))
        )
        model = next(iter(sorted(stored.glob("artifacts/*/model_index.json")))).parent
    except (MlflowException, OSError, StopIteration):
        model = None
    facts = {"aliases": ", ".join(version.aliases) or "none", "MLflow run": version.run_id}
    return Found(title, lineage, facts, model, dict(version.tags), files)


def version_record(version: Any, scratch: Path) -> dict[str, Any]:
    """The record of a registered version, from its run's artifacts, by way of the folder `scratch`.

    Raises:
        UnknownVersion: there is none, or one of another content.
        LineageError: it cannot be read.
    """
    title = f"{version.name} version {version.version}"
    files = _record_files(version.run_id, title, scratch, record_folder(str(version.tags.get("content_digest"))))
    return _own(version, title, read_lineage(files))


def _own(version: Any, title: str, lineage: dict[str, Any]) -> dict[str, Any]:
    if lineage["weights"]["content_digest"] != version.tags.get("content_digest"):
        raise UnknownVersion(
            f"the record of {title} speaks of content {lineage['weights']['content_digest']}, but the "
            f"version is tagged {json.dumps(version.tags.get('content_digest'))}: one of them was changed"
        )
    return lineage


def _record_files(run_id: str, title: str, scratch: Path, where: str) -> Path:
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    try:
        return Path(download_artifacts(run_id=run_id, artifact_path=where, dst_path=str(scratch)))
    except (MlflowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UnknownVersion(f"{title} has no record in the artifacts of its run {run_id}: {reason}") from None


def _run(client: Any, run_id: str, scratch: Path) -> Found:
    from mlflow.exceptions import MlflowException

    try:
        client.get_run(run_id)
    except MlflowException:
        raise UnknownVersion(f"MLflow has no run {run_id}") from None
    versions = client.search_model_versions(f"run_id = '{run_id}'")
    if versions:
        return _version(client, min(versions, key=lambda version: int(version.version)), scratch)
    kept = [item.path for item in client.list_artifacts(run_id, "record") if item.is_dir]
    if len(kept) != 1:
        raise UnknownVersion(f"run {run_id} keeps {len(kept)} records, so name a version of a registered model")
    files = _record_files(run_id, f"run {run_id}", scratch, kept[0])
    return Found(f"run {run_id}", read_lineage(files), {"registered as": "nothing"}, files=files)


def _file(workspace: Path, path: Path, header: dict[str, Any], scratch: Path) -> Found:
    """A file alone carries the short record; the whole one lies beside it, or in the registry."""
    folder = path.parent.parent
    digest = str(header["content_digest"])
    drawn: dict[str, str] = {name: str(header[name]) for name in DRAWN if name in header}
    if not drawn and (folder / "lineage.json").is_file():
        lineage = read_lineage(folder)
        if lineage["weights"]["content_digest"] == digest:
            return Found(str(path), lineage, {"a part of": str(folder)}, model=folder, header=header)
    client = connect(workspace)
    versions = versions_with(client, "content_digest", digest)
    if not versions:
        raise UnknownVersion(
            f"{path} comes from content {digest[:16]}, trained on photos {header.get('photos_dvc_md5')} in run "
            f"{header.get('run_id')}, but no version here has that content: ask where it was made, or set "
            "MLFLOW_TRACKING_URI to the registry that knows it"
        )
    found = _version(client, versions[0], scratch)
    facts: dict[str, str] = {"made by": found.title, **drawn, **found.facts}
    return Found(str(path), found.lineage, facts, found.model, found.tags, found.files, header)


def is_registered(workspace: Path, registration: dict[str, Any]) -> bool:
    """Whether the registry still has the version that a registration.json names."""
    found = find_version(connect(workspace), registration["model"], registration["content_digest"])
    return found is not None and str(found.version) == registration["version"]


def _known(client: Any, name: str) -> str:
    versions = client.search_model_versions(f"name = '{name}'")
    if not versions:
        names = sorted(model.name for model in client.search_registered_models())
        return f"it knows the models {', '.join(names)}" if names else "it is empty: nothing was registered yet"
    aliases = client.get_registered_model(name).aliases
    numbers = ", ".join(sorted((str(version.version) for version in versions), key=int))
    return f"'{name}' has versions {numbers} and aliases {', '.join(aliases) or 'none'}"


def find_evaluation(workspace: Path, ref: str) -> tuple[str, dict[str, Any]]:
    """How a model was judged, and what to call it: of a workspace, an evaluation.json, or what `find_record` takes.

    Raises:
        UnknownVersion: nothing there was judged.
    """
    path = Path(ref)
    file = path / EVALUATION if path.is_dir() else path
    if file.is_file() and file.suffix == ".json":
        try:
            return ref, read_evaluation(file)
        except (ValueError, KeyError) as error:
            raise UnknownVersion(f"{file} is not an evaluation that this version reads: {error!r}") from None
    if path.is_dir() and (path / PARAMS).is_file():
        raise UnknownVersion(f"{ref} has no {EVALUATION} yet: run `dvc repro` there first")
    with find_record(workspace, ref) as found:
        if found.files is None or not (found.files / EVALUATION.name).is_file():
            raise UnknownVersion(f"the evaluation of '{ref}' is not here; name a registered version, or a workspace")
        return found.title, read_evaluation(found.files / EVALUATION.name)


def read_evaluation(file: Path) -> dict[str, Any]:
    """What an `evaluation.json` holds.

    Raises:
        ValueError: not JSON, or without what a comparison needs.
    """
    evaluation = json.loads(file.read_text(encoding="utf-8"))
    needed = {"suite", "draw", "size", "heldout", "metrics", "gates", "verdict", "pictures"}
    lacking = sorted(needed - (evaluation.keys() if isinstance(evaluation, dict) else set()))
    if lacking:
        raise ValueError(f"it lacks {', '.join(lacking)}")
    return dict(evaluation)
