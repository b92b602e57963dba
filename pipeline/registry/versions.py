"""Registered versions: one per content, whatever how often it is registered."""

import json
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import UserError
from pipeline.files import scratch_folder
from pipeline.layout import MODEL
from pipeline.lineage.tags import verdict_tags, version_tags
from pipeline.lineage.verify_files import WEIGHTS_IN_SERVED, folder_files
from pipeline.params import Params
from pipeline.registry.adapters import adapter_flavor, add_adapter_flavor
from pipeline.registry.artifacts import Artifacts
from pipeline.registry.card import model_card
from pipeline.registry.lock import registration_lock
from pipeline.registry.shared_parts import store_shared
from pipeline.registry.withdrawn_photos import WITHDRAWN, matches, withdrawn_photos

if TYPE_CHECKING:
    from mlflow import MlflowClient

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parent
CONTENT = "content_digest"  # tag of what was uploaded, by which a killed registration is found
UNFINISHED_S = 24 * 3600  # an upload that is older and has no version was given up
STATUS = "validation_status"  # tag: whether the gates passed
PAGE = 1000  # versions in one answer of the registry
SERVED = (
    "torch",
    "diffusers",
    "transformers",
    "safetensors",
    "pillow",
    "numpy",
    "pydantic",
    "pyyaml",
    "mlflow",
    "c2pa-python",
    "cryptography",
)


@dataclass(frozen=True)
class Version:
    """A registered version; `created` tells whether this call made it."""

    model: str
    version: str
    run_id: str
    content_digest: str
    created: bool


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
    other's.

    Raises:
        Busy: others have kept this one waiting too long.
    """
    name, digest = params.register_.model, lineage["weights"]["content_digest"]
    found = find_version(client, name, digest)
    created = False
    if found is None:
        uri = _log_model(client, params, model, run_id, size, lineage)
        served = json.dumps(_served_files(client, uri), sort_keys=True)
        tags = version_tags(lineage) | verdict_tags(evaluation) | {"served_files": served}
        with registration_lock(client, name):
            found = find_version(client, name, digest)
            created = found is None
            found = found or _create(client, name, uri, run_id, tags)
        if not created:
            client.delete_logged_model(uri.removeprefix("models:/"))
        _sweep_unfinished(client, run_id, digest)
    return Version(name, str(found.version), str(found.run_id), digest, created)


def describe_version(
    client: "MlflowClient",
    version: Version,
    alias: str,
    lineage: dict[str, Any],
    evaluation: dict[str, Any],
    files: dict[str, str],
) -> str | None:
    """Verdict, figures, model card and alias follow the newest evaluation.

    A version that did not pass its gates leaves the alias where it is, if the version there passed its own: a try-out
    replaces no good model.

    A version that was trained on a withdrawn photo is marked as withdrawn and gets no alias. The list of withdrawn
    photos is read before and after the alias is set: a withdrawal in between either sees the alias and removes it, or
    is seen here.

    `files` are the digests of the record's files in the run's artifacts; a tag keeps them.

    Returns:
        The number of the better version that keeps the alias; None where this one has it, or is withdrawn.
    """
    name, number = version.model, version.version
    kept = client.get_model_version(name, number).tags
    recorded = {**json.loads(kept.get("record_files", "{}")), **files}
    for tag, value in {**verdict_tags(evaluation), "record_files": json.dumps(recorded, sort_keys=True)}.items():
        client.set_model_version_tag(name, number, tag, value)
    client.update_model_version(name, number, description=model_card(version.run_id, number, name, lineage, evaluation))
    if _withdrawn(client, version, lineage):
        return None
    if (better := _better_holder(client, name, number, alias)) is not None:
        return better
    client.set_registered_model_alias(name, alias, number)
    if _withdrawn(client, version, lineage):
        client.delete_registered_model_alias(name, alias)
    return None


def _better_holder(client: "MlflowClient", name: str, number: str, alias: str) -> str | None:
    """The version that has the alias and passed its gates, where version `number` did not pass them."""
    holder = client.get_registered_model(name).aliases.get(alias)
    if holder is None or str(holder) == number:
        return None
    passed = [client.get_model_version(name, one).tags.get(STATUS) == "approved" for one in (str(holder), number)]
    return str(holder) if passed == [True, False] else None


def _withdrawn(client: "MlflowClient", version: Version, lineage: dict[str, Any]) -> bool:
    """Whether the version is withdrawn; it is marked so where one of its photos was withdrawn before it was made."""
    if WITHDRAWN in client.get_model_version(version.model, version.version).tags:
        return True
    found = matches(lineage["photos"]["files"], withdrawn_photos(client, version.model)).exact
    if found:
        text = f"trained on photos that had been withdrawn: {', '.join(found)}"[:4000]
        client.set_model_version_tag(version.model, version.version, WITHDRAWN, text)
        print(f"warning: {version.model} version {version.version} is withdrawn, it was {text}")
    return bool(found)


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
    """The version with this content digest, the oldest where there are several; None where there is none."""
    found = versions_with(client, "content_digest", digest, name)
    return found[0] if found else None


def versions_with(client: "MlflowClient", tag: str, value: str, name: str | None = None) -> list[Any]:
    """All versions with this tag (of the model `name`), the oldest first."""
    wanted = f"tags.`{tag}` = {_literal(value)}" + (f" and name = {_literal(name)}" if name else "")
    return sorted(all_versions(client, wanted), key=lambda version: (version.name, int(version.version)))


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
    except MlflowException:
        client.create_registered_model(name, description=f"Fine-tuned models of the subject {name}.")
    model_id = uri.removeprefix("models:/")
    source = client.get_logged_model(model_id).artifact_location
    return client.create_model_version(name, source, run_id, tags=tags, model_id=model_id)


def _sweep_unfinished(client: "MlflowClient", run_id: str, digest: str) -> None:
    """Delete what killed registrations of this content by this run uploaded: no version uses it.

    What is younger than a day may be the upload of a process that is still at work.
    """
    oldest = (time.time() - UNFINISHED_S) * 1000
    # MLflow's list of versions does not say which upload each uses; where its files are, it does.
    used = [str(version.source) for version in all_versions(client, f"run_id = '{run_id}'")]
    experiment = client.get_run(run_id).info.experiment_id
    token = None
    while True:
        page = client.search_logged_models([experiment], f"source_run_id = '{run_id}'", page_token=token)
        for logged in page:
            left = logged.tags.get(CONTENT) == digest and logged.creation_timestamp < oldest
            if left and not any(logged.model_id in source for source in used):
                client.delete_logged_model(logged.model_id)
        token = page.token
        if not token:
            return


def _served_files(client: "MlflowClient", uri: str) -> dict[str, str]:
    """sha256 by path of what was logged beside the weights: the code and the settings that serve them."""
    location = client.get_logged_model(uri.removeprefix("models:/")).artifact_location
    with scratch_folder() as scratch:
        folder = Artifacts(client, Path(scratch)).without(str(location), WEIGHTS_IN_SERVED)
        return folder_files(folder, without=WEIGHTS_IN_SERVED)


def _log_model(
    client: "MlflowClient", params: Params, model: Path, run_id: str, size: int, lineage: dict[str, Any]
) -> str:
    """Log the pipeline as a pyfunc model of the run; returns its URI. Files that versions share are stored once."""
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    draw = params.sample.draw
    # MLflow makes of a plain list of prompts a table whose only column is 0; without that column it refuses the list.
    columns = [(DataType.string, 0), (DataType.string, "prompt"), (DataType.long, "seed")]
    signature = ModelSignature(
        inputs=Schema([ColSpec(kind, column, required=False) for kind, column in columns]),
        outputs=Schema([ColSpec(DataType.binary, "image")]),
        params=ParamSchema(
            [
                ParamSpec("negative", DataType.string, ""),
                ParamSpec("steps", DataType.integer, draw.steps),
                ParamSpec("guidance", DataType.double, float(draw.guidance)),
                ParamSpec("size", DataType.integer, size),
                ParamSpec("count", DataType.integer, 1),
                ParamSpec("recipe", DataType.string, ""),
                ParamSpec("control", DataType.string, ""),
            ]
        ),
    )
    versions, digest = lineage["environment"]["libraries"], str(lineage["weights"]["content_digest"])
    with scratch_folder() as scratch, warnings.catch_warnings(), mlflow.start_run(run_id, log_system_metrics=False):
        warnings.simplefilter("ignore", UserWarning)  # an example would be drawn, for nothing
        own = Path(scratch) / MODEL.name
        store_shared(client, run_id, model, own)
        info = mlflow.pyfunc.log_model(
            name="model",
            tags={CONTENT: digest},
            python_model=str(HERE / "served_model.py"),
            artifacts={"pipeline": str(own)},
            code_paths=[str(PACKAGE)],
            pip_requirements=[f"{name}=={versions[name]}" for name in SERVED if name in versions],
            signature=signature,
            metadata={"content_digest": digest, "base_digest": lineage["base"]["digest"]},
            model_config={
                "scheduler": draw.scheduler,
                "precision": draw.precision,
                "steps": draw.steps,
                "guidance": draw.guidance,
                "batch": draw.batch,
                "size": size,
            },
        )
    uri = str(info.model_uri)
    flavor = adapter_flavor(model, lineage, f"{WEIGHTS_IN_SERVED}/{MODEL.name}")
    if flavor is not None:
        add_adapter_flavor(client, uri.removeprefix("models:/"), flavor)
    return uri
