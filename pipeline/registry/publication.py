"""The champion on S3: published when it is promoted, retracted when it is withdrawn."""

import json
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import UserError, first_line, in_units, system_failure
from pipeline.files import digest_value
from pipeline.layout import PARAMS
from pipeline.params import load_params
from pipeline.registry.aliases import champion_of, registered_model
from pipeline.registry.lock import promotion_lock
from pipeline.registry.lookup import find_record
from pipeline.registry.recipes import recipe_in
from pipeline.registry.shared_parts import shared_files
from pipeline.registry.store import connect, explained
from pipeline.sampling.recipe import NAMES_A_FOLDER, without_folders
from pipeline.storage.publish import Published, publish, published_folder, retract
from pipeline.storage.s3 import ChangedMeanwhile, StorageError, read_url

if TYPE_CHECKING:
    from mlflow import MlflowClient

PLACE = "published_to."  # tags of a registered model, one for each place that it was ever published to
FOLDERS = "published"  # tags of a version, one for each: the folders on S3 that hold its files
HUB = "hub_repositories"  # tags of a version, one for each: where on the Hugging Face hub its files went
PATIENCE = 60  # seconds to wait for a promotion or withdrawal before the pointer moves


class NothingToPublish(UserError):
    """There is no champion, or its weights are not available on this machine."""


class NotPublished(UserError):
    """The upload of a champion failed, after a step that holds; `status` is that of the failure."""


@contextmanager
def publishing(name: str, done: str) -> Iterator[None]:
    """Around the upload of the champion of model `name` that follows another step.

    Args:
        done: the step that holds, whatever becomes of the upload.

    Raises:
        NotPublished: it failed; the message says that `done` holds, and what publishes it. The trace of an error that
            nobody foresaw goes to standard error.
    """
    try:
        yield
    except Exception as error:
        known = error if isinstance(error, UserError) else system_failure(error) or explained(error)
        if known is None:
            traceback.print_exc()
            known = UserError(f"the upload failed: {type(error).__name__}: {error}")
        told = NotPublished(f"{known}\n{done}; `dreamtrace publish {name}` publishes it")
        told.status = known.status
        raise told from None


def publish_where_set(workspace: Path, name: str, by: str, done: str) -> str:
    """Upload the champion of model `name` to `publish.to` of params.yaml, after a step that changed it.

    Args:
        by: who changed it.
        done: the step that holds, whatever becomes of the upload.

    Returns:
        What was published, as a sentence; '' where champions are not published.

    Raises:
        NotPublished: the upload failed; the message says that `done` holds, and what publishes it.
    """
    with publishing(name, done):
        to = publish_to(workspace)
        return "" if to is None else published_sentence(publish_champion(workspace, name, to, by), to)


def publish_to(workspace: Path) -> str | None:
    """Where the champions of a workspace are published (`publish.to`); None where they are not.

    Raises:
        ParamsError: params.yaml cannot be used.
    """
    return load_params(workspace / PARAMS).publish.to if (workspace / PARAMS).is_file() else None


def publish_champion(workspace: Path, name: str, to: str, by: str) -> Published:
    """Upload the champion of the registered model `name` to `s3://bucket/prefix`, and point there to it.

    The place is kept in the registry before anything is sent, so that a withdrawal finds it.

    Raises:
        UnknownModel: the registry has no such model.
        NothingToPublish: no champion, or without weights or record.
        ChangedMeanwhile: another process has moved the champion, or changed its recipe, in the meantime.
        Busy: a promotion or withdrawal takes longer than `PATIENCE` seconds.
        StorageError: S3 refuses or does not answer; the same call resumes.
    """
    place, client = read_url(to), connect(workspace)
    version = champion_of(client, name)
    if version is None:
        raise NothingToPublish(f"{name} has no champion: `dreamtrace promote` makes one")
    with find_record(workspace, f"models:/{name}/{version}") as found:
        if found.model is None or found.files is None:
            raise NothingToPublish(f"the weights or the record of {found.title} are not available on this machine")
        facts = {
            "model": name,
            "version": version,
            "content_digest": str(found.lineage["weights"]["content_digest"]),
            "token": str(found.lineage["subject"]["token"]),
            "class_noun": str(found.lineage["subject"]["class_noun"]),
            "by": by,
        }
        recipe = recipe_in(dict(client.get_model_version(name, version).tags), found.title)
        if without_folders(recipe.changed) != recipe.changed:
            raise NothingToPublish(f"the recipe of {found.title} {NAMES_A_FOLDER}")
        if recipe.changed:
            facts |= {"recipe": json.dumps(recipe.changed), "recipe_digest": recipe.digest}
        folders = {"model": found.model, "record": found.files}
        _remember(client, name, version, str(place), published_folder(place, name, folders))
        return publish(
            place,
            facts,
            folders,
            lambda: _is_current(client, name, version, recipe.digest),
            exclusively=lambda: promotion_lock(client, name, by, PATIENCE, "publishing the champion"),
            shared=shared_files(found.model),
        )


def _is_current(client: "MlflowClient", name: str, version: str, recipe_digest: str) -> bool:
    """Whether a version is the champion, drawn with the recipe of this digest.

    Raises:
        ChangedMeanwhile: it is the champion, and drawn with another recipe by now.
    """
    if champion_of(client, name) != version:
        return False
    title = f"{name} version {version}"
    if recipe_in(dict(client.get_model_version(name, version).tags), title).digest != recipe_digest:
        raise ChangedMeanwhile(
            f"the recipe of {title} was changed while it was uploaded, so it is not published with the earlier one; "
            f"`dreamtrace publish {name}` publishes it with its present one"
        )
    return True


def places_of(client: "MlflowClient", name: str) -> list[str]:
    """Every place that a registered model was ever published to from this registry."""
    return sorted(value for key, value in registered_model(client, name).tags.items() if key.startswith(PLACE))


def published_folders(client: "MlflowClient", name: str, version: str) -> list[str]:
    """The folders on S3 that hold the files of a version."""
    return _places(client, name, version, FOLDERS)


def remember_hub(workspace: Path, name: str, version: str, repository: str) -> None:
    """Keep with a version that its files go to a repository of the Hugging Face hub, before anything is sent."""
    client = connect(workspace)
    client.set_model_version_tag(name, version, f"{HUB}.{digest_value(repository)[:16]}", repository)


def hub_repositories(client: "MlflowClient", name: str, version: str) -> list[str]:
    """The repositories of the hub, `owner/name`, that the files of a version went to."""
    return _places(client, name, version, HUB)


def retract_versions(workspace: Path, versions: Iterable[tuple[str, str]], why: str) -> tuple[list[str], list[str]]:
    """Retract (model, version) from every place that it may have been published to.

    Returns:
        The pointers (`s3://bucket/prefix/model`) that named one of them and now say why it is gone; and a sentence for
        each place that could not be asked: the same call does it later.
    """
    client, own = connect(workspace), None
    retracted, problems = [], []
    try:
        own = publish_to(workspace)
    except UserError as error:  # the places that the registry knows are asked all the same
        problems.append(f"publish.to is not known: {first_line(error)}")
    for model, version in versions:
        digest = client.get_model_version(model, version).tags.get("content_digest")
        for place in dict.fromkeys([*places_of(client, model), *([str(read_url(own))] if own else [])]):
            try:
                if retract(read_url(place), model, version, why, content_digest=digest):
                    retracted.append(f"{place}/{model}")
            except StorageError as error:
                problems.append(f"{place}: {error}")
    return retracted, list(dict.fromkeys(problems))


def published_sentence(done: Published, to: str) -> str:
    """The result of a publication, in one sentence."""
    pointer = done.pointer
    name, where = f"{pointer['model']} version {pointer['version']}", f"{to.rstrip('/')}/{pointer['model']}"
    if not done.moved:
        return f"{where} has {name} already."
    return f"{where} is {name} now ({in_units(done.sent)} sent)."


def _remember(client: "MlflowClient", name: str, version: str, place: str, folder: str) -> None:
    client.set_registered_model_tag(name, f"{PLACE}{digest_value(place)[:16]}", place)
    client.set_model_version_tag(name, version, f"{FOLDERS}.{digest_value(folder)[:16]}", folder)


def _places(client: "MlflowClient", name: str, version: str, kind: str) -> list[str]:
    """The places that the tags of a version name: each has a tag of its own, so that none is lost where two processes
    add one at the same time; one tag with a list is of earlier versions.
    """
    tags = client.get_model_version(name, version).tags
    own = sorted(value for key, value in tags.items() if key.startswith(f"{kind}."))
    return list(dict.fromkeys([*json.loads(tags.get(kind, "[]")), *own]))
