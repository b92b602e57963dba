"""Files in the registry's store, wherever that is: their sizes, sending and removing them."""

from pathlib import Path
from typing import Any

from pipeline.errors import first_line
from pipeline.registry.artifacts import ArtifactsAway, check_answers


def sizes_below(uri: str, path: str = "") -> dict[str, int]:
    """Bytes of every file below the folder `path` at an address, by its path from the address.

    Raises:
        ArtifactsAway: the store does not answer.
    """
    found: dict[str, int] = {}
    folders = [path]
    while folders:
        for entry in _listed(uri, folders.pop()):
            if entry.is_dir:
                folders.append(entry.path)
            else:
                found[entry.path] = int(entry.file_size or 0)
    return found


def folders_in(uri: str, path: str) -> list[str]:
    """The folders directly in the folder `path` at an address, by their paths from the address.

    Raises:
        ArtifactsAway: the store does not answer.
    """
    return [entry.path for entry in _listed(uri, path) if entry.is_dir]


def remove_file(uri: str, path: str) -> None:
    """Remove a file at an address; one that is gone already is no error.

    Raises:
        ArtifactsAway: the store does not answer, or refuses.
    """
    try:
        _store(uri).delete_artifacts(path)
    except FileNotFoundError:
        return
    except Exception as error:
        raise ArtifactsAway(f"{path} at {uri} cannot be removed: {first_line(error)}") from None


def upload_folder(uri: str, folder: Path, path: str) -> None:
    """Put the files of a folder below `path` at an address.

    Raises:
        ArtifactsSilent: the store does not answer.
    """
    _store(uri).log_artifacts(str(folder), path)


def _listed(uri: str, path: str) -> list[Any]:
    store = _store(uri)
    try:
        return list(store.list_artifacts(path or None))
    except Exception as error:  # each kind of store has errors of its own; all of them mean that it is away
        raise ArtifactsAway(f"{uri} cannot be read: {first_line(error)}") from None


def _store(uri: str) -> Any:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    check_answers(uri)
    return get_artifact_repository(uri)
