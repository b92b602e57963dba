"""Shared files that no version needs any more: found, and removed safely against a registration at the same time.

A registration makes its version with the lock of the parts held, after a look whether all that it needs is there
(`shared_parts.holding_parts`); a removal holds the same lock and looks at the versions that were made since.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import UserError
from pipeline.files import scratch_folder
from pipeline.layout import MODEL
from pipeline.lineage.deleted import DELETED
from pipeline.lineage.verify_files import WEIGHTS_IN_SERVED
from pipeline.registry.artifacts import Artifacts, ArtifactsAway, local_path
from pipeline.registry.lookup import files_address
from pipeline.registry.shared_parts import INDEX, PARTS, around, parts_lock, read_index
from pipeline.registry.store import DATABASE, SQLITE, connect, tracking_uri
from pipeline.registry.stored_files import folders_in, remove_file, sizes_below
from pipeline.registry.versions import all_versions

if TYPE_CHECKING:
    from mlflow import MlflowClient

Key = tuple[str, str]  # name of a model, number of a version
LOGGED, INSIDE = "models", "artifacts"  # MLflow keeps the files of a logged model in models/<id>/artifacts


class UsersUnknown(UserError):
    """What a version needs cannot be read, so that no shared file can be removed."""


@dataclass(frozen=True)
class UnusedPart:
    """A shared file that no version needs, and the address of its store."""

    path: Path
    root: str


@dataclass
class PartUsers:
    """Which shared files are needed: by the versions of a registry, and by all that lies in the same store. That may be
    an upload that is no version yet, or a version of another registry. What was read once is kept.
    """

    client: "MlflowClient"
    read: dict[str, set[str]] = field(default_factory=dict)

    def of(self, address: str, title: str) -> set[str]:
        """The digests of the shared files that a version with its files at this address needs; `title` is its name.

        Raises:
            UsersUnknown: its files cannot be read.
        """
        if address not in self.read:
            found = _needs(address, title)
            if not found:  # of an upload that is under way, perhaps: it may name its parts a moment later
                return found
            self.read[address] = found
        return self.read[address]

    def used(self, root: str, without: frozenset[Key] = frozenset()) -> set[str]:
        """The digests of all shared files of the store `root` that are needed, but for what only the versions
        `without` need, and deleted ones.

        Raises:
            UsersUnknown: the files of a version cannot be read.
        """
        stays: dict[str, str] = {}
        goes: set[str] = set()
        for version in all_versions(self.client):
            gone = DELETED in version.tags or (version.name, str(version.version)) in without
            place = place_of(self.client, version)
            if gone:
                goes.add(place)
            else:
                stays[place] = f"{version.name} version {version.version}"
        stays |= {place: f"the upload {place}" for place in _uploads(root) if place not in {*stays, *goes}}
        return {digest for place, title in stays.items() for digest in self.of(place, title)}


def place_of(client: "MlflowClient", version: Any) -> str:
    """Where the files of a version are; two addresses of one folder on this machine are the same."""
    source = str(version.source)
    return _place(files_address(client, version) if source.startswith("models:") else source)


def store_around(address: str, digests: set[str]) -> str | None:
    """The store of shared files that a version with its files at this address belongs to; None where there is none.

    A folder that was copied or moved belongs to the store beside it, whatever its `parts.json` says.
    """
    folder = local_path(address)
    if folder is not None:
        found = around(folder, digests)
        return found.parent.as_uri() if found is not None else None
    index = _index(address)
    root = str(index["at"]).removesuffix(f"/{PARTS}") if index else ""
    return root if root and address.startswith(f"{root}/") else None


def remove_unused(users: PartUsers, root: str, digests: list[str]) -> int:
    """Remove those of the shared files of the store `root` that nothing needs now; returns the bytes that are free.

    Raises:
        UsersUnknown: the files of a version cannot be read; nothing more is removed.
        ArtifactsAway: the store does not answer.
        Busy: registrations have kept this one waiting too long.
    """
    freed = 0
    users.used(root)  # reads what every version needs before the lock, and under it only what is new
    for digest in digests:
        with parts_lock(users.client):  # held for one file: it expires after a minute
            size = sizes_below(root, PARTS).get(f"{PARTS}/{digest}")
            if size is not None and digest not in users.used(root):
                remove_file(root, f"{PARTS}/{digest}")
                freed += size
    return freed


def parts_nobody_needs(workspace: Path) -> list[UnusedPart]:
    """The shared files in stores on this machine's disk that no version of the registry needs; no database is made.

    Raises:
        UsersUnknown: the files of a version cannot be read.
        StoreError: the registry cannot be read.
    """
    uri = tracking_uri(workspace)
    if uri == f"{SQLITE}{(workspace / DATABASE).resolve()}" and not (workspace / DATABASE).is_file():
        return []
    client = connect(workspace)
    roots = {str(one.artifact_location).rstrip("/") for one in client.search_experiments()}
    folders = {root: local_path(f"{root}/{PARTS}") for root in roots}
    unused = []
    for root, folder in sorted(folders.items()):
        if folder is not None and folder.is_dir():
            used = PartUsers(client).used(folder.parent.as_uri())
            unused += [UnusedPart(path, root) for path in sorted(folder.iterdir()) if path.name not in used]
    return unused


def remove_part(workspace: Path, part: UnusedPart) -> None:
    """Remove a shared file, if no version needs it now.

    Raises:
        UserError: as `remove_unused` does.
    """
    remove_unused(PartUsers(connect(workspace)), part.root, [part.path.name])


def _needs(address: str, title: str) -> set[str]:
    try:
        index = _index(address)
    except UserError as error:
        raise UsersUnknown(f"which shared files {title} needs cannot be read: {error}") from None
    return {entry["sha256"] for entry in index["files"].values()} if index else set()


def _index(address: str) -> dict[str, Any] | None:
    """What `parts.json` at the address of a version holds; None where it has none."""
    folder = f"{WEIGHTS_IN_SERVED}/{MODEL.name}"
    there = sizes_below(address, folder)
    if f"{folder}/{INDEX}" not in there:
        if there or sizes_below(address):
            return None
        raise ArtifactsAway("there is nothing")
    with scratch_folder() as scratch:
        return read_index(Artifacts(None, Path(scratch)).at(f"{address}/{folder}/{INDEX}"))


def _uploads(root: str) -> list[str]:
    """The folders in a store that MLflow logged models into, whoever did, if they hold a model."""
    found = [f"{root}/{path}/{INSIDE}" for path in folders_in(root, LOGGED)]
    return [_place(address) for address in found if sizes_below(address, f"{WEIGHTS_IN_SERVED}/{MODEL.name}")]


def _place(address: str) -> str:
    folder = local_path(address)
    return address.rstrip("/") if folder is None else str(folder.resolve())
