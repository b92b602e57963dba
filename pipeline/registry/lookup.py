"""Resolves any reference to its record: a version, an alias, a run, a model folder, one file, an image."""

import json
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.errors import UserError, as_found, first_line
from pipeline.files import scratch_folder
from pipeline.layout import EVALUATION, LINEAGE, PARAMS
from pipeline.lineage.deleted import DELETED, deletion_of
from pipeline.lineage.header import read_header
from pipeline.lineage.links import Link, shortened
from pipeline.lineage.read import LineageError, read_lineage
from pipeline.registry.aliases import all_models
from pipeline.registry.artifacts import Artifacts, ArtifactsAway, ArtifactsMissing, ArtifactsSilent
from pipeline.registry.found import Found, Stored
from pipeline.registry.overview import overview
from pipeline.registry.picture_lookup import PICTURES, read_picture
from pipeline.registry.recipes import recipe_history, recipe_in, search_behind, search_words
from pipeline.registry.shared_parts import whole_model
from pipeline.registry.store import ANSWERS, connect
from pipeline.registry.versions import (
    adapter_folder,
    all_versions,
    find_version,
    record_folder,
    report_folder,
    versions_of,
    versions_with,
)
from pipeline.sampling.picture_index import INPUTS, models_of, short_origin

REFERENCE = re.compile(r"^models:/(?P<name>[^/@]+)(@(?P<alias>[^/@]+)|/(?P<version>[0-9]+))$")
LAST_VERSION = 2**31 - 1  # that databases have a number for
RUN = re.compile(r"^(runs:/)?(?P<run>[0-9a-f]{32})$")
DIGEST = re.compile(r"^[0-9a-f]{64}$")
WEIGHTS = "artifacts/model"  # the model folder inside of MLflow's
WITH, FOUND_BY = "drawn with", "found by a search"  # facts of a version: its present recipe, and what found that
NOW = "its version is now drawn with"  # the same of a file's version
DRAWN = ("prompt", "seed", "steps", "guidance")
FORMS = "models:/NAME@ALIAS, models:/NAME/VERSION, a run's id, a model folder, a safetensors file or a drawn picture"


class UnknownVersion(UserError):
    """The reference resolves to nothing, or to something without a record."""


@contextmanager
def find_record(workspace: Path, ref: str) -> Iterator[Found]:
    """What `ref` names; files that had to be fetched are there until the block ends.

    Raises:
        UnknownVersion: of no known form, or not to be found.
        LineageError: what it names holds no record.
    """
    with scratch_folder() as folder:
        yield _find(workspace, ref, Path(folder))


def _find(workspace: Path, ref: str, scratch: Path) -> Found:
    if match := REFERENCE.match(ref):
        client = connect(workspace)
        return _version(client, _numbered(client, match, ref), scratch)
    if match := RUN.match(ref):
        return _run(connect(workspace), match["run"], scratch)
    path = Path(ref)
    if path.is_dir():
        return Found(ref, read_lineage(path), folder=path)
    if path.is_file() and path.suffix == ".safetensors":
        return _weights_file(workspace, path, scratch)
    if path.is_file() and path.suffix.lower() in PICTURES:
        record, link = read_picture(workspace, path)
        found = _file(workspace, path, record, scratch, tensors=False)
        return replace(found, own_links=(link, *found.own_links))
    raise UnknownVersion(f"cannot trace '{ref}': it is not {FORMS}{_meant(workspace, ref)}")


def _weights_file(workspace: Path, path: Path, scratch: Path) -> Found:
    """A safetensors file: its header leads to the record; weights of the base in a model folder have none."""
    try:
        return _file(workspace, path, read_header(path), scratch, tensors=True)
    except LineageError:
        folder = path.parent.parent
        if not (folder / LINEAGE).is_file():
            raise
        lineage = read_lineage(folder)
        if f"{path.parent.name}/{path.name}" not in lineage.get("files", {}):
            raise
        facts = {"a part of": str(folder), "holds": "weights of the base that training left as they were"}
        return Found(str(path), lineage, facts, folder, file=path)


def registered_version(workspace: Path, ref: str) -> Any:
    """MLflow's entry of the registered version that `ref` names.

    Raises:
        UnknownVersion: it names none.
    """
    if match := REFERENCE.match(ref):
        return _numbered(connect(workspace), match, ref)
    raise UnknownVersion(
        f"'{ref}' is not a registered version: name models:/NAME@ALIAS or models:/NAME/VERSION{_meant(workspace, ref)}"
    )


def _numbered(client: Any, match: re.Match[str], ref: str) -> Any:
    from mlflow.exceptions import MlflowException

    name, number = match["name"], match["version"]
    if not ref.isprintable():
        raise UnknownVersion(f"{as_found(ref)} names no version: no name holds such characters")
    if number and (len(number) > len(str(LAST_VERSION)) or int(number) > LAST_VERSION):
        raise UnknownVersion(f"{as_found(ref)} names no version: no number of one is above {LAST_VERSION}")
    try:
        number = number or client.get_model_version_by_alias(name, match["alias"]).version
        return client.get_model_version(name, number)
    except MlflowException as error:
        if error.error_code not in ANSWERS:
            raise
        raise UnknownVersion(f"the registry has no {ref}; {_known(client, name)}") from None


def _version(client: Any, version: Any, scratch: Path) -> Found:
    title = f"{version.name} version {version.version}"
    artifacts = Artifacts(client, scratch)
    digest = str(version.tags.get("content_digest"))
    facts = {"aliases": ", ".join(version.aliases) or "none", "MLflow run": version.run_id}
    if (deletion := deletion_of(version.tags)) is not None:
        facts["weights"] = str(deletion).removeprefix("weights ")
    if (recipe := version.tags.get("recipe")) not in (None, "{}"):
        facts[WITH] = f"the recipe {recipe}"
        if search := search_behind(dict(version.tags), recipe_in(dict(version.tags), title).digest):
            facts[FOUND_BY] = search_words(search)
    why = ""
    try:
        files: Path | None = artifacts.of_run(version.run_id, record_folder(digest))
    except ArtifactsSilent:
        raise
    except ArtifactsAway as error:
        files, why = None, str(error)
        state = (
            "keeps no record any more" if isinstance(error, ArtifactsMissing) else "has a record that cannot be read"
        )
        facts["its run"] = f"{state} ({why}); this is the copy beside the weights"
    lineage = read_lineage(files) if files is not None else _beside_weights(artifacts, version, title, why)
    stored = Stored(
        served=lambda: _if_there(lambda: artifacts.at(files_address(client, version))),
        adapter=lambda: _if_there(lambda: artifacts.of_run(version.run_id, adapter_folder(digest))),
        report=lambda: _if_there(lambda: artifacts.of_run(version.run_id, report_folder(digest))),
        whole=lambda own, verifying: whole_model(own, _fresh(scratch) / own.name, verifying),
    )
    return Found(
        title,
        _own(version, title, lineage),
        facts,
        tags=dict(version.tags),
        files=files,
        stored=stored,
        version=(str(version.name), str(version.version)),
    )


def _entry(client: Any, version: Any) -> Any:
    """The registry's whole entry of a version that a search found: search results say nothing of aliases."""
    return client.get_model_version(version.name, version.version)


def _with_content(client: Any, digest: str) -> list[Any]:
    """The versions with a content digest that a file names; none where it is no digest."""
    return versions_with(client, "content_digest", digest) if DIGEST.match(digest) else []


def _behind(client: Any, versions: list[Any], named: Any, scratch: Path) -> Found:
    """Of versions with the content that a file names the one behind it: that of the title `named`, else the oldest that
    has its weights, else one whose weights were deleted.
    """
    rank = [(f"{version.name} version {version.version}" != named, DELETED in version.tags) for version in versions]
    return _of_picture(_version(client, _entry(client, versions[rank.index(min(rank))]), scratch))


def _of_picture(found: Found) -> Found:
    """A version behind a file: its recipe may have changed since, so it is not said to have drawn the file."""
    facts = {name: value for name, value in found.facts.items() if name != FOUND_BY}
    return replace(found, facts={NOW if name == WITH else name: value for name, value in facts.items()})


def _fresh(scratch: Path) -> Path:
    scratch.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=scratch, prefix="whole-"))


def _beside_weights(artifacts: Artifacts, version: Any, title: str, why: str) -> dict[str, Any]:
    """The copy of the record in the version's model folder, which outlives the run."""
    try:
        return read_lineage(artifacts.at(f"{files_address(artifacts.client, version)}/{WEIGHTS}/{LINEAGE}").parent)
    except ArtifactsSilent:
        raise
    except (ArtifactsAway, LineageError) as error:
        raise UnknownVersion(
            f"{title} has no record: {why}, and beside its weights: {error}. If its run was deleted, "
            f"`mlflow runs restore --run-id {version.run_id}` brings it back"
        ) from None


def files_address(client: Any, version: Any) -> str:
    """Where MLflow keeps the files of a version.

    Raises:
        ArtifactsAway: the registry does not say.
    """
    from mlflow.exceptions import MlflowException

    try:
        return str(client.get_model_version_download_uri(version.name, version.version)).rstrip("/")
    except MlflowException as error:
        raise ArtifactsAway(f"the registry names no files of version {version.version}: {first_line(error)}") from None


def _if_there(fetch: Callable[[], Path]) -> Path | None:
    """None where the store was asked and has nothing; ArtifactsAway where it could not be read."""
    try:
        return fetch()
    except ArtifactsMissing:
        return None


def version_record(version: Any, scratch: Path) -> dict[str, Any]:
    """The record of a registered version, from its run's artifacts, by way of the folder `scratch`.

    Raises:
        UnknownVersion: there is none, or one of another content.
        LineageError: it cannot be read.
    """
    import mlflow

    return _version(mlflow.MlflowClient(), version, scratch).lineage


def _own(version: Any, title: str, lineage: dict[str, Any]) -> dict[str, Any]:
    if lineage["weights"]["content_digest"] != version.tags.get("content_digest"):
        raise UnknownVersion(
            f"lineage.json of {title} has content digest {lineage['weights']['content_digest']}, the version's tag "
            f"says {json.dumps(version.tags.get('content_digest'))}: one of them was changed"
        )
    return lineage


def _run(client: Any, run_id: str, scratch: Path) -> Found:
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise UnknownVersion(f"MLflow has no run {run_id}") from None
    versions = list(all_versions(client, f"run_id = '{run_id}'"))
    if versions:
        return _version(client, _entry(client, min(versions, key=lambda version: int(version.version))), scratch)
    try:
        records = Artifacts(client, scratch).of_run(run_id, "record")
    except ArtifactsMissing:
        deleted = f"; it was deleted, `mlflow runs restore --run-id {run_id}` brings it back"
        hint = deleted if run.info.lifecycle_stage == "deleted" else ": no model of it was registered"
        raise UnknownVersion(f"run {run_id} keeps no record{hint}") from None
    kept = sorted(path for path in records.iterdir() if path.is_dir())
    if len(kept) != 1:
        raise UnknownVersion(f"run {run_id} keeps {len(kept)} records, so name a version of a registered model")
    return Found(f"run {run_id}", read_lineage(kept[0]), {"registered as": "nothing"}, files=kept[0])


def _file(workspace: Path, path: Path, header: dict[str, Any], scratch: Path, tensors: bool) -> Found:
    """A file alone carries the short record; the whole one is beside it, or in the registry."""
    folder, file = path.parent.parent, path if tensors else None
    digest = str(header["content_digest"])
    drawn: dict[str, str] = {name: str(header[name]) for name in DRAWN if name in header}
    drawn |= {name: json.dumps(header[name]) for name in ("recipe", *INPUTS, "best_of") if name in header}
    if tensors and (folder / LINEAGE).is_file():
        lineage = read_lineage(folder)
        if lineage["weights"]["content_digest"] == digest:
            return Found(str(path), lineage, {"a part of": str(folder)}, folder, header=header, file=file)
    client = connect(workspace)
    versions = _with_content(client, digest)
    if not versions:
        raise UnknownVersion(
            f"{path} comes from content {digest[:16]}, trained on photos {header.get('photos_dvc_md5')} in run "
            f"{header.get('run_id')}, but no version here has that content: ask where it was made, or set "
            "MLFLOW_TRACKING_URI to the registry that knows it"
        )
    found = _behind(client, versions, header.get("title"), scratch)
    drawn |= _search_of(found.tags or {}, header)
    others, links, behind = [], list[Link](), models_of(short_origin(header)) - {digest}
    rows = header.get("models")
    for row in rows if isinstance(rows, list) and all(isinstance(one, dict) for one in rows) else ():
        known = _with_content(client, str(row.get("content_digest")))
        drawn[f"drawn along with {row.get('model')}"] = f"{row.get('title')}, content {row.get('content_digest')}" + (
            "" if known else "; no version here has that content"
        )
        others += [_behind(client, known, row.get("title"), _fresh(scratch))] if known else []
        links += [] if known else [_unknown(f"model {row.get('model')}", row.get("content_digest"))]
        behind.discard(str(row.get("content_digest")))
    for content in sorted(behind):  # what drew the pictures that went into this one
        known = _with_content(client, content)
        others += [_behind(client, known, None, _fresh(scratch))] if known else []
        links += [] if known else [_unknown("model behind an input", content)]
    facts: dict[str, str] = {"made by": found.title, **drawn, **found.facts}
    return replace(
        found, title=str(path), facts=facts, header=header, file=file, others=tuple(others), own_links=tuple(links)
    )


def _search_of(tags: dict[str, str], header: dict[str, Any]) -> dict[str, str]:
    """The search that found the recipe of a picture, as a fact. Steps and guidance that the caller named are not in
    the picture's recipe: then the version's recipe that is the same but for these is the one.
    """
    digest, recipe = header.get("recipe_digest"), header.get("recipe")
    if not isinstance(recipe, dict):
        return {}
    lines = recipe_history(tags)
    if any(line.get("digest") == digest for line in lines):
        search = search_behind(tags, str(digest))
        return {"recipe found by a search": search_words(search)} if search else {}
    alike = [
        line for line in lines if line.get("search") and _without_call(line.get("recipe")) == _without_call(recipe)
    ]
    words = "recipe found by a search, but for steps and guidance"
    return {words: search_words(alike[-1]["search"])} if alike else {}


def _without_call(recipe: Any) -> dict[str, Any]:
    """A recipe without what a call may name in its place."""
    values = recipe if isinstance(recipe, dict) else {}
    return {key: value for key, value in values.items() if key not in ("steps", "guidance")}


def _unknown(name: str, content: Any) -> Link:
    return Link(name, "unknown", f"no version here has content {shortened(content)}: ask the registry that knows it")


def is_registered(workspace: Path, registration: dict[str, Any]) -> bool:
    """Whether the registry still has the version that a registration.json names."""
    found = find_version(connect(workspace), registration["model"], registration["content_digest"])
    return found is not None and str(found.version) == registration["version"]


def _known(client: Any, name: str) -> str:
    versions = versions_of(client, name)
    if not versions:
        names = sorted(model.name for model in all_models(client))
        return f"it knows the models {', '.join(names)}" if names else "it is empty: nothing was registered yet"
    aliases = client.get_registered_model(name).aliases
    numbers = ", ".join(sorted((str(version.version) for version in versions), key=int))
    return f"'{name}' has versions {numbers} and {'aliases ' + ', '.join(aliases) if aliases else 'no alias'}"


def _meant(workspace: Path, ref: str) -> str:
    """What somebody who gave the name of a registered model alone may have meant; '' where `ref` is no such name."""
    found = overview(workspace).get(ref, []) if re.fullmatch(r"[\w-]+", ref) else []
    if not found:
        return ""
    named = next((f"models:/{ref}@{alias}" for one in found for alias in one.aliases), found[0].reference)
    return f"; did you mean {named}?"


def find_evaluation(workspace: Path, ref: str) -> tuple[str, dict[str, Any]]:
    """The evaluation of a model, and a name for it: of a workspace, an evaluation.json, or what `find_record` takes.

    Raises:
        UnknownVersion: there is no evaluation.
    """
    path = Path(ref)
    file = path / EVALUATION if path.is_dir() else path
    if file.is_file() and file.suffix == ".json":
        return ref, _evaluation(file, str(file))
    if path.is_dir() and (path / PARAMS).is_file():
        raise UnknownVersion(f"{ref} has no {EVALUATION} yet: run `dvc repro` there first")
    with find_record(workspace, ref) as found:
        evaluation = recorded_evaluation(found)
        if evaluation is None:
            raise UnknownVersion(f"the evaluation of '{ref}' is not here; name a registered version, or a workspace")
        return found.title, evaluation


def recorded_evaluation(found: Found) -> dict[str, Any] | None:
    """The evaluation in the record of a model; None where there is none.

    Raises:
        UnknownVersion: it is damaged.
    """
    file = found.files / EVALUATION.name if found.files is not None else None
    return _evaluation(file, f"the evaluation of {found.title}") if file is not None and file.is_file() else None


def _evaluation(file: Path, what: str) -> dict[str, Any]:
    try:
        return read_evaluation(file)
    except (ValueError, KeyError, OSError) as error:
        raise UnknownVersion(f"{what} is not one that this version of dreamtrace can read: {error!r}") from None


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
