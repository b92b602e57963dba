"""Deleting the weights of registered versions that nobody uses; their records stay, and with them every way back."""

import os
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.base.digest import digested_files, folder_digest
from pipeline.base.digest_cache import cached_digest
from pipeline.base.resolve import COMPONENTS, EMBEDDED
from pipeline.errors import UserError
from pipeline.layout import LINEAGE
from pipeline.lineage.deleted import DELETED, Deletion, deletion_of
from pipeline.lineage.verify_files import WEIGHTS_IN_SERVED
from pipeline.registry.aliases import CHAMPION, PREVIOUS, registered_model
from pipeline.registry.artifacts import ArtifactsAway
from pipeline.registry.examination import Refused
from pipeline.registry.lock import Held, promotion_lock
from pipeline.registry.lookup import files_address, registered_version
from pipeline.registry.promotion_history import settle
from pipeline.registry.publication import hub_repositories, published_folders
from pipeline.registry.recipes import recipe_in
from pipeline.registry.shared_parts import INDEX, PARTS
from pipeline.registry.store import connect
from pipeline.registry.stored_files import remove_file, sizes_below
from pipeline.registry.unused_parts import Key, PartUsers, UsersUnknown, place_of, remove_unused, store_around
from pipeline.registry.versions import adapter_folder, all_versions
from pipeline.sampling.picture_index import drawn_with
from pipeline.sampling.recipe import RecipeError

if TYPE_CHECKING:
    from mlflow import MlflowClient

SAID = "**Its weights were deleted**"
LEGACY_ADAPTER = "adapter_files"  # tag of versions whose LoRA layers lie in the run's artifacts once more


@dataclass(frozen=True)
class Doomed:
    """A version whose weights are to go: bytes of its files, by address and the path from there.

    `pictures` were drawn with it in this workspace; `elsewhere` are places outside the registry that keep its weights.
    `before` says who deleted them already.
    """

    model: str
    version: str
    files: dict[tuple[str, str], int]
    pictures: int
    elsewhere: list[str]
    before: Deletion | None

    @property
    def name(self) -> str:
        """'mysks version 3'."""
        return f"{self.model} version {self.version}"

    @property
    def size(self) -> int:
        """Bytes of its own."""
        return sum(self.files.values())


@dataclass(frozen=True)
class Plan:
    """What a deletion would do. `parts` are the shared files that no version needs then: address of their store and
    bytes, by digest; `parts_stay` says why they are left alone, '' where they are not.
    """

    doomed: list[Doomed]
    parts: dict[str, tuple[str, int]] = field(default_factory=dict)
    parts_stay: str = ""

    @property
    def shared_size(self) -> int:
        """Bytes of the shared files that would go."""
        return sum(size for _, size in self.parts.values())

    @property
    def size(self) -> int:
        """Bytes that would be free."""
        return sum(one.size for one in self.doomed) + self.shared_size


def plan_deletion(workspace: Path, refs: list[str]) -> Plan:
    """What deleting the weights of these versions would remove.

    Raises:
        Refused: one is in use; all objections are listed.
        UnknownVersion: a reference names no registered version.
        ArtifactsAway: the store of its files does not answer.
    """
    client = connect(workspace)
    found = {(one.name, str(one.version)): one for one in (registered_version(workspace, ref) for ref in refs)}
    going = frozenset(found)
    objections = [line for version in found.values() for line in objections_to(client, version, going)]
    if objections:
        raise Refused("nothing was deleted:\n" + "\n".join(f"  {line}" for line in objections))
    doomed: list[Doomed] = []
    for version in found.values():
        one = _doomed(workspace, client, version)
        again = {file for other in doomed for file in other.files}  # of a copy that goes, too
        doomed.append(replace(one, files={file: size for file, size in one.files.items() if file not in again}))
    users = PartUsers(client)
    try:
        parts: dict[str, tuple[str, int]] = {}
        for version in found.values():
            parts |= _parts(users, place_of(client, version), going)
        return Plan(doomed, parts)
    except UsersUnknown as error:
        kept = [replace(one, files=_without_index(one.files)) for one in doomed]
        return Plan(kept, {}, str(error))


def objections_to(client: "MlflowClient", version: Any, going: frozenset[Key] = frozenset()) -> list[str]:
    """Why the weights of a version must stay, where those of the versions `going` go, too."""
    name, number = str(version.name), str(version.version)
    title = f"{name} version {number}"
    found = []
    for alias, holder in registered_model(client, name).aliases.items():
        if str(holder) == number:
            why = {CHAMPION: "it is in use", PREVIOUS: "`dreamtrace rollback` needs it"}.get(
                alias, f"`dreamtrace reject models:/{name}/{number} --reason WHY` takes the alias away"
            )
            found.append(f"{title} is the {alias}: {why}")
    if DELETED not in version.tags:
        users = _users_of(client, version, going)
        found += [f"{title} is needed by {user}" for user in users]
    return found


def delete_weights(workspace: Path, plan: Plan, by: str, why: str) -> tuple[int, list[str]]:
    """Mark the versions of a plan as deleted, then remove their weights; called again, it finishes what was cut off.

    Aliases are looked at before and after the mark, and whoever sets an alias looks for the mark afterwards: no alias
    ever stays with a deleted version.

    Returns:
        The bytes that are free now, and a sentence for each thing that could not be removed.

    Raises:
        Refused: a version has come into use since the plan was made; nothing was deleted.
        Busy: a promotion of one of the models is under way; nothing was deleted.
    """
    client, going = connect(workspace), frozenset((one.model, one.version) for one in plan.doomed)
    problems: list[str] = []
    marked: list[Doomed] = []
    try:
        for one in plan.doomed:
            with promotion_lock(client, one.model, by, work="deleting weights") as held:
                held.confirm()
                settle(client, one.model)
                marked += [one] * _mark(held, one, by, why, going)
    except BaseException:
        for one in marked:  # it may be the one that came into use that needs their files
            client.delete_model_version_tag(one.model, one.version, DELETED)
        raise
    for one in plan.doomed:
        _say_deleted(client, one)
    freed = sum(_remove(one, False, problems) for one in plan.doomed)
    roots: dict[str, list[str]] = {}
    for digest, (root, _) in plan.parts.items():
        roots.setdefault(root, []).append(digest)
    for root, digests in roots.items():
        try:
            freed += remove_unused(PartUsers(client), root, digests)
        except UserError as error:
            problems.append(f"shared files were kept: {error}")
    if not problems:
        freed += sum(_remove(one, True, problems) for one in plan.doomed)
    return freed, problems


def _remove(one: Doomed, index: bool, problems: list[str]) -> int:
    """Remove the files of a version, first the one without which it is no model; returns the bytes that are free.

    The `index` of the shared files goes by itself, last of all: by it a second call finds those that were left. It is
    not among the files of a plan that leaves shared files alone.
    """
    freed = 0
    for address, path in sorted(one.files, key=lambda file: (not file[1].endswith("/model_index.json"), file)):
        if (Path(path).name == INDEX) == index:
            try:
                remove_file(address, path)
                freed += one.files[address, path]
            except ArtifactsAway as error:
                problems.append(str(error))
    return freed


def _mark(held: Held, one: Doomed, by: str, why: str, going: frozenset[Key]) -> bool:
    """Mark a version as deleted; False where it is already."""
    client = held.client
    version = client.get_model_version(one.model, one.version)
    _refuse(client, version, going)
    if DELETED in version.tags:
        return False
    held.confirm()
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    client.set_model_version_tag(one.model, one.version, DELETED, Deletion(by, at, why, one.size).as_tag())
    try:
        _refuse(client, version, going)
    except Refused:
        client.delete_model_version_tag(one.model, one.version, DELETED)
        raise
    return True


def _say_deleted(client: "MlflowClient", one: Doomed) -> None:
    version = client.get_model_version(one.model, one.version)
    deletion = deletion_of(version.tags)
    assert deletion is not None, "it is marked"
    told = version.description or ""
    if LEGACY_ADAPTER in version.tags:
        client.delete_model_version_tag(one.model, one.version, LEGACY_ADAPTER)
    if SAID not in told:
        said = f"{SAID} by {deletion.by}: {deletion.why}"
        client.update_model_version(one.model, one.version, description=f"{said}\n\n{told}")


def _refuse(client: "MlflowClient", version: Any, going: frozenset[Key]) -> None:
    if objections := objections_to(client, version, going):
        raise Refused("; ".join(objections))


def _doomed(workspace: Path, client: "MlflowClient", version: Any) -> Doomed:
    name, number = str(version.name), str(version.version)
    digest = str(version.tags.get("content_digest"))
    address = files_address(client, version)
    files = {
        (address, path): size
        for path, size in sizes_below(address, WEIGHTS_IN_SERVED).items()
        if Path(path).name != Path(LINEAGE).name  # the copy of the record that outlives the run
    }
    if LEGACY_ADAPTER in version.tags:
        run = str(client.get_run(version.run_id).info.artifact_uri)
        files |= {(run, path): size for path, size in sizes_below(run, adapter_folder(digest)).items()}
    elsewhere = [*published_folders(client, name, number), *hub_repositories(client, name, number)]
    return Doomed(name, number, files, len(drawn_with(workspace, [digest])), elsewhere, deletion_of(version.tags))


def _users_of(client: "MlflowClient", version: Any, going: frozenset[Key]) -> list[str]:
    """Versions that share its files (copies that MLflow made), were trained on it, or are drawn with it; but those that
    go, too.
    """
    place, content = place_of(client, version), str(version.tags.get("content_digest", ""))
    found = []
    for other in all_versions(client):
        key = (str(other.name), str(other.version))
        if key == (str(version.name), str(version.version)) or key in going or DELETED in other.tags:
            continue
        if place_of(client, other) == place:
            found.append(f"{other.name} version {other.version}, which has the same files")
        elif _was_trained_on(other, place, content):
            found.append(f"{other.name} version {other.version}, which was trained on it")
        elif _draws_with(other, version):
            found.append(f"{other.name} version {other.version}, whose recipe draws with it")
    return found


def _was_trained_on(other: Any, place: str, content: str) -> bool:
    """Whether a version needs the weights of another one, with its files at `place` and this content digest, as its
    base: it was trained on their folder, or on a copy of it that is not there any more.

    Paths that lead nowhere from here may be relative to another folder, or those of another machine.
    """
    base = str(other.tags.get("base_model", ""))
    if not base or "base_revision" in other.tags or base in EMBEDDED:  # a revision is that of a repository on the hub
        return False
    folder = Path(os.path.realpath(os.path.expanduser(base)))
    if folder.is_relative_to(place):
        return True
    return bool(content) and other.tags.get("base_digest") == content and not _holds(folder, content)


def _holds(folder: Path, content: str) -> bool:
    """Whether a folder is a model with this content digest."""
    try:
        files = digested_files(folder, COMPONENTS)
        return bool(files) and cached_digest(files, None, lambda: folder_digest(folder, COMPONENTS)) == content
    except (OSError, ValueError, UserError):
        return False


def _draws_with(other: Any, version: Any) -> bool:
    """Whether the recipe of a version names another one."""
    try:
        named = recipe_in(dict(other.tags), str(other.name)).others
    except RecipeError:
        return False
    content = version.tags.get("content_digest")
    return f"models:/{version.name}/{version.version}" in named or content in named.values()


def _without_index(files: dict[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    return {file: size for file, size in files.items() if Path(file[1]).name != INDEX}


def _parts(users: PartUsers, place: str, going: frozenset[Key]) -> dict[str, tuple[str, int]]:
    """Address of their store, and bytes, of the shared files that only the versions `going` need, this one among them.

    Raises:
        UsersUnknown: the files of another version cannot be read.
    """
    try:
        mine = users.of(place, place)
        root = store_around(place, mine)
    except UserError:  # its own files are gone, or damaged
        return {}
    if root is None:
        return {}
    used, sizes = users.used(root, going), sizes_below(root, PARTS)
    unused = {digest: sizes.get(f"{PARTS}/{digest}") for digest in sorted(mine - used)}
    return {digest: (root, size) for digest, size in unused.items() if size is not None}
