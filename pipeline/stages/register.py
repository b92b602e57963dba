"""Stage `register`: an MLflow model version for the trained content, with its record, report and figures."""

import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.base.resolve import native_size
from pipeline.environment import user_name
from pipeline.errors import UserError
from pipeline.files import digest_file, digest_value, read_json, read_table, scratch_folder, write_json
from pipeline.layout import (
    DVC_LOCK,
    EVALUATION,
    LINEAGE,
    MODEL,
    PARAMS,
    RECIPE,
    REGISTRATION,
    REPORT,
    RUN,
    SEARCH,
    STEPS,
)
from pipeline.params import Params
from pipeline.stages import main

if TYPE_CHECKING:
    from pipeline.registry.versions import Standing

RECORD = (PARAMS, DVC_LOCK, EVALUATION, MODEL / LINEAGE)
RENEWED = (EVALUATION,)  # of content that has its record already
SENDING = "record_sending"  # tag: digests of the record's files that a registration of the same record began to send


class ContentChanged(UserError):
    """The model is not the one that its record describes."""


def run(workspace: Path, params: Params) -> None:
    """Write `artifacts/registration.json`; the version itself is in MLflow.

    Raises:
        ContentChanged: the weights' digest is not the one in lineage.json.
        StoreError: MLflow does not answer, or the run of the registered version was deleted.
    """
    from pipeline.lineage.digests import content_digest
    from pipeline.lineage.read import read_lineage
    from pipeline.registry.mlflow_runs import NOTE, check_kept, ensure_run
    from pipeline.registry.recipes import adopt_searched, give_default, give_searched_default
    from pipeline.registry.run_note import run_note
    from pipeline.registry.search_runs import log_search
    from pipeline.registry.store import connect
    from pipeline.registry.versions import (
        deleted_base,
        describe_version,
        evaluation_metrics,
        find_version,
        register_version,
    )

    model = workspace / MODEL
    lineage, evaluation = read_lineage(model), read_json(workspace / EVALUATION)
    recorded, actual = lineage["weights"]["content_digest"], content_digest(model)
    if recorded != actual:
        raise ContentChanged(
            f"{MODEL} has content digest {actual}, but its record says {recorded}: the files were changed after "
            "training; `dvc checkout` brings the trained ones back"
        )
    client = connect(workspace)
    there = find_version(client, params.register_.model, actual)
    if there is not None:
        check_kept(client, str(there.run_id), f"{there.name} version {there.version}")
    trained = read_json(workspace / RUN)
    run_id = ensure_run(
        workspace,
        params,
        trained,
        read_table(workspace / STEPS),
        lineage["photos"]["dvc_md5"],
        f"{params.subject.name}-{trained['inputs'][:8]}",
    )
    searched = (RECIPE, SEARCH) if _with_recipe(workspace) else ()
    kept: tuple[Path, ...] = RENEWED if there and _recorded_otherwise(there.tags, lineage) else RECORD
    kept += searched
    _announce(client, workspace, there, kept)
    digests = _log_record(client, workspace, str(there.run_id) if there else run_id, actual, kept)
    size = params.prepare.size or native_size(model)
    version = register_version(client, params, model, run_id, lineage, evaluation, size)
    if there is None and version.run_id != run_id:  # another process made the version in the meantime
        digests = _log_record(client, workspace, version.run_id, actual, RENEWED + searched)
    for name, figure in evaluation_metrics(evaluation).items():
        client.log_metric(version.run_id, name, figure)
    told = lineage if LINEAGE in digests else _first_record(version.run_id, actual)
    alias = params.register_.alias
    tidied = _tidy_record(client, version.run_id, actual, digests.keys())
    standing = describe_version(client, version, alias, told, evaluation, {**tidied, **digests})
    if base := deleted_base(client, lineage["base"]["digest"]):
        print(
            f"warning: {version.model} version {version.version} was trained on {base}, whose weights were deleted "
            "meanwhile; it can be used, but not be trained again from what the registry has"
        )
    client.set_tag(version.run_id, NOTE, run_note(params, evaluation["verdict"]["sentence"], version.version))
    search, searching = read_json(workspace / SEARCH), digest_file(workspace / SEARCH)
    own = client, version.model, version.version
    before = client.get_model_version(version.model, version.version).tags.get("recipe", "{}")
    if search["pictures"]["drawn"]:
        log_search(client, version.run_id, search, searching)
    if read_json(workspace / RECIPE) != {}:
        became = adopt_searched(*own, evaluation.get("recipe"), searching, user_name())
    elif search["pictures"]["drawn"]:
        became = give_searched_default(*own, searching, user_name()) or give_default(*own, user_name())
    else:
        became = give_default(*own, user_name())
    if became:
        print(became)
    if client.get_model_version(version.model, version.version).tags.get("recipe", "{}") != before:
        _publish_champion(client, workspace, version.model, version.version)
    if lineage["params"]["train"]["method"] == "dreambooth-lora" and version.created:
        client.set_model_version_tag(
            version.model, version.version, "adapter", f"models:/{version.model}/{version.version}"
        )
    client.set_terminated(run_id, "FINISHED")
    write_json(
        workspace / REGISTRATION,
        {
            "model": version.model,
            "version": version.version,
            "alias": standing.alias,
            "withdrawn": standing.withdrawn,
            "run_id": version.run_id,
            "content_digest": version.content_digest,
        },
    )
    made = "registered" if version.created else "this content is registered already, as"
    print(f"{made} {version.model} version {version.version}{_placed(standing, alias)}")


def _publish_champion(client: Any, workspace: Path, name: str, version: str) -> None:
    """Publish a version that has another recipe now, where it is the champion; a store that is away is a warning."""
    from pipeline.registry.aliases import champion_of
    from pipeline.registry.publication import publish_where_set

    if champion_of(client, name) != version:
        return
    try:
        if published := publish_where_set(workspace, name, user_name(), "The recipe itself is set"):
            print(published)
    except UserError as error:
        print(f"warning: {error}")


def _placed(standing: "Standing", alias: str) -> str:
    if standing.withdrawn:
        return f"; it is withdrawn, and does not get the alias {alias}"
    if standing.better:
        return f"; version {standing.better} passed its gates and keeps {alias}"
    return f", alias {alias}"


def _announce(client: Any, workspace: Path, there: Any | None, kept: Collection[Path]) -> None:
    """Keep in a tag of the version, if there is one, which files of its record are sent in place of those there."""
    if there is None or DVC_LOCK not in kept:
        return
    sent = {path.name: digest_file(workspace / path) for path in RECORD if (workspace / path).is_file()}
    client.set_model_version_tag(there.name, there.version, SENDING, json.dumps(sent, sort_keys=True))


def _log_record(client: Any, workspace: Path, run_id: str, digest: str, kept: tuple[Path, ...]) -> dict[str, str]:
    """Put the record's files and the report into the run's artifacts; returns the files' digests."""
    from pipeline.lineage.verify_files import REPORT_FILES, folder_files
    from pipeline.registry.artifacts import check_answers
    from pipeline.registry.stored_files import remove_file, sizes_below
    from pipeline.registry.versions import record_folder, report_folder

    check_answers(str(client.get_run(run_id).info.artifact_uri))
    files = [workspace / path for path in kept if (workspace / path).is_file()]
    with scratch_folder() as folder:
        listed = Path(folder) / REPORT_FILES
        write_json(listed, folder_files(workspace / REPORT))
        root, place = str(client.get_run(run_id).info.artifact_uri), report_folder(digest)
        client.log_artifacts(run_id, str(workspace / REPORT), place)
        fresh = {
            f"{place}/{path.relative_to(workspace / REPORT).as_posix()}" for path in (workspace / REPORT).rglob("*")
        }
        for left in sorted(sizes_below(root, place).keys() - fresh):  # of an earlier judgement
            remove_file(root, left)
        kept_search = [_named_by_digest(path, Path(folder)) for path in files if path.name == SEARCH.name]
        for path in [*files, *kept_search, listed]:
            client.log_artifact(run_id, str(path), record_folder(digest))
        return {path.name: digest_file(path) for path in [*files, *kept_search, listed]}


def _tidy_record(client: Any, run_id: str, digest: str, logged: Collection[str]) -> dict[str, str | None]:
    """Clear up after registrations that were cut off before a version listed what they had sent.

    Files of the record that are neither `logged` now nor listed are removed, but for those that every record has. Of
    the latter, one that a registration of the same record sent in place of that which is listed stays.

    Returns:
        The digests of the latter that no version lists yet, or lists otherwise; and None for each listed file of a
        search that such a registration replaced: it is removed, too.
    """
    from pipeline.registry.artifacts import Artifacts
    from pipeline.registry.stored_files import remove_file, sizes_below
    from pipeline.registry.versions import listed_files, record_folder, versions_with

    root, place = str(client.get_run(run_id).info.artifact_uri), record_folder(digest)
    listed, needed = listed_files(client, run_id, digest), {path.name for path in RECORD}
    sending: dict[str, str] = {}
    for version in versions_with(client, "content_digest", digest):
        sending |= json.loads(version.tags.get(SENDING, "{}")) if str(version.run_id) == run_id else {}
    told: dict[str, str | None] = {}
    with scratch_folder() as folder:
        for path in sorted(sizes_below(root, place)):
            name = path.removeprefix(f"{place}/")
            in_doubt = name in (RECIPE.name, SEARCH.name) or name in sending
            if name in logged or (name in listed and not in_doubt):
                continue
            found = digest_file(Artifacts(client, Path(folder)).at(f"{root.rstrip('/')}/{path}"))
            if name in needed:
                told |= {name: found} if name not in listed or found == sending.get(name) else {}
            elif listed.get(name) != found:
                remove_file(root, path)
                told |= {name: None} if name in listed else {}
    return told


def _named_by_digest(search: Path, folder: Path) -> Path:
    """A copy of the record of a search in `folder`, under a name that no later search takes."""
    from pipeline.lineage.verify_recipe import search_file

    return Path(shutil.copy(search, folder / search_file(digest_file(search))))


def _first_record(run_id: str, digest: str) -> dict[str, Any]:
    """The record of the training that ended in this content first: the version is its."""
    from mlflow.artifacts import load_dict

    from pipeline.registry.versions import record_folder

    return dict(load_dict(f"runs:/{run_id}/{record_folder(digest)}/{LINEAGE}"))


def _with_recipe(workspace: Path) -> bool:
    """Whether a recipe was searched, or given in params.yaml."""
    return read_json(workspace / SEARCH)["pictures"]["drawn"] > 0 or read_json(workspace / RECIPE) != {}


def _recorded_otherwise(tags: dict[str, str], lineage: dict[str, Any]) -> bool:
    """Whether another training ended in the same content: then its record stands, and only the judgement is renewed."""
    return tags.get("record_digest") != digest_value(lineage)


if __name__ == "__main__":
    main(run)
