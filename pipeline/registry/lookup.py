"""From a reference in the registry to the record of the version it names."""

import json
import re
import tempfile
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.lineage.read import read_lineage
from pipeline.registry.store import connect
from pipeline.registry.versions import find_version

REFERENCE = re.compile(r"^models:/(?P<name>[^/@]+)(@(?P<alias>[^/@]+)|/(?P<version>\d+))$")


class UnknownVersion(UserError):
    """The registry has no such model, version or alias."""


def version_record(workspace: Path, ref: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Title, record and registry facts of `models:/name@alias` or `models:/name/3`.

    Raises:
        UnknownVersion: not of that form, or not in the registry.
        LineageError: the version's run holds no record.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    match = REFERENCE.match(ref)
    if match is None:
        raise UnknownVersion(f"'{ref}' is not of the form models:/NAME@ALIAS or models:/NAME/VERSION")
    client = connect(workspace)
    name = match["name"]
    try:
        number = match["version"] or client.get_model_version_by_alias(name, match["alias"]).version
        version = client.get_model_version(name, number)
    except MlflowException:
        raise UnknownVersion(f"the registry has no {ref}; {_known(client, name)}") from None
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = download_artifacts(run_id=version.run_id, artifact_path="record/lineage.json", dst_path=folder)
        except (MlflowException, OSError) as error:
            raise UnknownVersion(
                f"{name} version {number} has no record in the artifacts of its run {version.run_id}: {error}"
            ) from None
        lineage = read_lineage(Path(found).parent)
    if lineage["weights"]["content_digest"] != version.tags.get("content_digest"):
        raise UnknownVersion(
            f"the record of {name} version {number} speaks of content {lineage['weights']['content_digest']}, but the "
            f"version is tagged {json.dumps(version.tags.get('content_digest'))}: one of them was changed"
        )
    facts = {"aliases": ", ".join(version.aliases) or "none", "MLflow run": version.run_id}
    return f"{name} version {number}", lineage, facts


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
