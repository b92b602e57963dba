"""Registered versions: one per content, whatever how often it is registered."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import NotNow, UserError
from pipeline.files import digest_value, scratch_folder
from pipeline.layout import MODEL
from pipeline.lineage.deleted import DELETED
from pipeline.lineage.tags import WITHDRAWN, verdict_tags, version_tags
from pipeline.lineage.verify_files import WEIGHTS_IN_SERVED
from pipeline.params import Params
from pipeline.registry.card import model_card
from pipeline.registry.judged_draw import draw_tag
from pipeline.registry.lock import promotion_lock, registration_lock
from pipeline.registry.logged_model import discard, log_model, served_files, sweep_unfinished
from pipeline.registry.shared_parts import holding_parts, store_shared
from pipeline.registry.stored_files import upload_folder
from pipeline.registry.withdrawn_photos import matches, withdrawn_photos

if TYPE_CHECKING:
    from mlflow import MlflowClient

STATUS = "validation_status"  # tag: whether the gates passed
PAGE = 1000  # versions in one answer of the registry
PATIENCE = 60  # seconds to wait for a promotion or a deletion


@dataclass(frozen=True)
class Version:
    """A registered version; `created` tells whether this call made it."""

    model: str
    version: str
    run_id: str
    content_digest: str
    created: bool


@dataclass(frozen=True)
class Standing:
    """What a version is after its newest evaluation: it has the alias, or a better one keeps it, or it is withdrawn."""

    alias: str | None  # that it has
    better: str | None = None  # number of the version that keeps the alias

    @property
    def withdrawn(self) -> bool:
        """Whether it is out of use, and gets no alias."""
        return self.alias is None and self.better is None


class DeletedMeanwhile(NotNow):
    """Somebody deleted the version's weights while it was registered."""


def register_version(
    client: "MlflowClient",
    params: Params,
    model: Path,
    run_id: str,
    lineage: dict[str, Any],
    evaluation: dict[str, Any],
    size: int,
) -> Version:
    """The version of the model folder: the one with its content digest, or a new one of the run `run_id`.

    Weights are uploaded before anything is decided; then one process at a time looks again, and makes the version with
    all its tags in one write. A killed registration so leaves no half version, and of two at once one finds the
    other's. A version of the same record whose weights were deleted gets them back.

    Raises:
        Busy: others have kept this one waiting too long.
    """
    name, digest = params.register_.model, lineage["weights"]["content_digest"]
    found = find_version(client, name, digest) or _brought_back(client, name, model, lineage)
    created = False
    if found is None:
        uri, shared = log_model(client, params, model, run_id, size, lineage)
        served = json.dumps(served_files(client, uri), sort_keys=True)
        tags = version_tags(lineage) | verdict_tags(evaluation) | {"served_files": served}
        with registration_lock(client, name), holding_parts(client, run_id, shared):
            found = find_version(client, name, digest)
            created = found is None
            found = found or _create(client, name, uri, run_id, tags)
        if not created:
            discard(client, uri.removeprefix("models:/"))
        used = [str(version.source) for version in all_versions(client, f"run_id = '{run_id}'")]
        sweep_unfinished(client, run_id, digest, used)
    return Version(name, str(found.version), str(found.run_id), digest, created)


def _brought_back(client: "MlflowClient", name: str, model: Path, lineage: dict[str, Any]) -> Any | None:
    """The version of this very record whose weights were deleted, with its weights; None where there is none.

    Another training that ended in the same content has another record, and gets a version of its own.
    """
    record, content = digest_value(lineage), lineage["weights"]["content_digest"]
    gone = [
        version
        for version in versions_with(client, "content_digest", content, name)
        if DELETED in version.tags and version.tags.get("record_digest") == record
    ]
    if not gone:
        return None
    number, run_id = str(gone[0].version), str(gone[0].run_id)
    with promotion_lock(client, name, "register", PATIENCE, "registering a version"), scratch_folder() as scratch:
        source = str(client.get_model_version_download_uri(name, number)).rstrip("/")
        own = Path(scratch) / MODEL.name
        shared = store_shared(client, run_id, model, own)
        upload_folder(source, own, f"{WEIGHTS_IN_SERVED}/{MODEL.name}")
        with holding_parts(client, run_id, shared):
            if DELETED in client.get_model_version(name, number).tags:
                client.delete_model_version_tag(name, number, DELETED)
    print(f"the weights of {name} version {number} had been deleted; they are back")
    return client.get_model_version(name, number)


def describe_version(
    client: "MlflowClient",
    version: Version,
    alias: str,
    lineage: dict[str, Any],
    evaluation: dict[str, Any],
    files: Mapping[str, str | None],
) -> Standing:
    """Verdict, figures, model card and alias follow the newest evaluation.

    A version that did not pass its gates leaves the alias where it is, if the version there passed its own: a try-out
    replaces no good model.

    A version that was trained on a withdrawn photo or version is marked as withdrawn and gets no alias. Both are looked
    for before and after the alias is set: a withdrawal in between either sees the alias and removes it, or is seen
    here.

    `files` are the digests of the record's files in the run's artifacts, None for one that is gone; a tag keeps them,
    with those of earlier registrations.

    Raises:
        DeletedMeanwhile: somebody has deleted its weights since it was found.
    """
    name, number = version.model, version.version
    kept = client.get_model_version(name, number).tags
    listed = {**listed_files(client, version.run_id, version.content_digest), **_listed(kept), **files}
    recorded = {path: digest for path, digest in listed.items() if digest is not None}
    told = {**verdict_tags(evaluation), **draw_tag(evaluation), "record_files": json.dumps(recorded, sort_keys=True)}
    for model, one in [(name, number), *_of_the_same_record(client, version)]:
        for tag, value in told.items():
            client.set_model_version_tag(model, one, tag, value)
        client.update_model_version(model, one, description=model_card(version.run_id, one, model, lineage, evaluation))
    if _withdrawn(client, version, lineage):
        if str(client.get_registered_model(name).aliases.get(alias)) == number:  # of a registration that was cut off
            client.delete_registered_model_alias(name, alias)
        return Standing(None)
    if (better := _better_holder(client, name, number, alias)) is not None:
        return Standing(None, better)
    client.set_registered_model_alias(name, alias, number)
    if withdrawn := _withdrawn(client, version, lineage):
        client.delete_registered_model_alias(name, alias)
    if DELETED in client.get_model_version(name, number).tags:
        client.delete_registered_model_alias(name, alias)
        raise DeletedMeanwhile(f"the weights of {name} version {number} were deleted meanwhile; run it again")
    return Standing(None if withdrawn else alias)


def listed_files(client: "MlflowClient", run_id: str, digest: str) -> dict[str, str]:
    """The digests of the record's files by name, as the versions of a run with this content list them."""
    found: dict[str, str] = {}
    for version in versions_with(client, "content_digest", digest):
        found |= _listed(version.tags) if str(version.run_id) == run_id else {}
    return found


def _listed(tags: Mapping[str, str]) -> dict[str, str]:
    return dict(json.loads(tags.get("record_files", "{}")))


def _of_the_same_record(client: "MlflowClient", version: Version) -> list[tuple[str, str]]:
    """Name and number of versions of this run and content under other names: one record in the run is that of all."""
    found = versions_with(client, "content_digest", version.content_digest)
    others = [one for one in found if str(one.run_id) == version.run_id and one.name != version.model]
    return [(str(one.name), str(one.version)) for one in others]


def _better_holder(client: "MlflowClient", name: str, number: str, alias: str) -> str | None:
    """The version that has the alias and passed its gates, where version `number` did not pass them."""
    holder = client.get_registered_model(name).aliases.get(alias)
    if holder is None or str(holder) == number:
        return None
    passed = [client.get_model_version(name, one).tags.get(STATUS) == "approved" for one in (str(holder), number)]
    return str(holder) if passed == [True, False] else None


def _withdrawn(client: "MlflowClient", version: Version, lineage: dict[str, Any]) -> bool:
    """Whether the version is withdrawn; it is marked so where a photo of it, or its base, was withdrawn before it was
    made.
    """
    if WITHDRAWN in client.get_model_version(version.model, version.version).tags:
        return True
    if found := matches(lineage["photos"]["files"], withdrawn_photos(client, version.model)).exact:
        text = f"trained on photos that had been withdrawn: {', '.join(found)}"[:4000]
    elif base := withdrawn_version(client, lineage["base"]["digest"]):
        text = f"trained on {base}, which had been withdrawn"
    else:
        return False
    client.set_model_version_tag(version.model, version.version, WITHDRAWN, text)
    print(f"warning: {version.model} version {version.version} is withdrawn, it was {text}")
    return True


def record_folder(digest: str) -> str:
    """Where in a run's artifacts the record of the content with this digest lies: a run may end in several."""
    return f"record/{digest[:16]}"


def report_folder(digest: str) -> str:
    """Where in a run's artifacts the report about this content lies."""
    return f"report/{digest[:16]}"


def adapter_folder(digest: str) -> str:
    """Where in a run's artifacts the LoRA layers of this content lie as an MLflow model."""
    return f"adapter/{digest[:16]}"


def find_version(client: "MlflowClient", name: str, digest: str) -> Any | None:
    """The version with this content digest and its weights, the oldest of several; None where there is none."""
    found = versions_with(client, "content_digest", digest, name)
    return next((version for version in found if DELETED not in version.tags), None)


def versions_with(client: "MlflowClient", tag: str, value: str, name: str | None = None) -> list[Any]:
    """All versions with this tag (of the model `name`), the oldest first."""
    wanted = f"tags.`{tag}` = {_literal(value)}" + (f" and name = {_literal(name)}" if name else "")
    return sorted(all_versions(client, wanted), key=lambda version: (version.name, int(version.version)))


def withdrawn_version(client: "MlflowClient", content: str) -> str:
    """The oldest withdrawn version with this content digest, as 'mysks version 3'; '' where none is withdrawn."""
    known = versions_with(client, "content_digest", content) if content else []
    found = (version for version in known if WITHDRAWN in version.tags)
    return next((f"{version.name} version {version.version}" for version in found), "")


def deleted_base(client: "MlflowClient", content: str) -> str:
    """The oldest version with this content digest, as 'mysks version 3', where no version has its weights any more."""
    known = versions_with(client, "content_digest", content) if content else []
    gone = [f"{version.name} version {version.version}" for version in known if DELETED in version.tags]
    return gone[0] if gone and len(gone) == len(known) else ""


def versions_of(client: "MlflowClient", name: str) -> list[Any]:
    """All versions of a registered model, the oldest first."""
    found = all_versions(client, f"name = {_literal(name)}")
    return sorted(found, key=lambda version: int(version.version))


def all_versions(client: "MlflowClient", wanted: str | None = None, order_by: list[str] | None = None) -> Iterator[Any]:
    """Every version in the registry that fits the filter `wanted`, however many pages MLflow makes of them."""
    token = None
    while True:
        page = client.search_model_versions(wanted, max_results=PAGE, order_by=order_by, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _literal(value: str) -> str:
    """A text as MLflow's filters take it.

    Raises:
        UserError: it holds quotes, which no filter can express.
    """
    if "'" not in value:
        return f"'{value}'"
    if '"' not in value:
        return f'"{value}"'
    raise UserError(f"{value!r} cannot be looked up in the registry: it holds two kinds of quotes")


def evaluation_metrics(evaluation: dict[str, Any]) -> dict[str, float]:
    """The overall figures as MLflow metrics: 'evaluation/identity_heldout/tuned'."""
    return {
        f"evaluation/{row['metric']}/{row['model']}": row["value"]
        for row in evaluation["metrics"]
        if row["group"] == "all"
    }


def _create(client: "MlflowClient", name: str, uri: str, run_id: str, tags: dict[str, str]) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        client.create_registered_model(name, description=f"Fine-tuned models of the subject {name}.")
    model_id = uri.removeprefix("models:/")
    source = client.get_logged_model(model_id).artifact_location
    return client.create_model_version(name, source, run_id, tags=tags, model_id=model_id)
