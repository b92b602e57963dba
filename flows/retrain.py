"""A new version when the photos have changed: what a schedule runs."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas import State
from prefect.runtime import flow_run
from prefect.states import Completed

from flows.forms import AS_COMMITTED, ProfileChoice, SubjectChoice, check_form, choices_of
from flows.isolated import fine_tune_isolated, registry_of
from flows.promote import promote
from flows.stage_task import worth_trying
from pipeline.errors import UserError
from pipeline.files import digest_file, read_json
from pipeline.layout import DATA, REGISTRATION
from pipeline.lineage.digests import future_folder_md5
from pipeline.photos.file_kinds import scan_folder
from pipeline.registry.examination import Refused
from pipeline.registry.lookup import find_record
from pipeline.registry.store import connect
from pipeline.registry.versions import versions_with
from pipeline.runs.photo_sources import fetch_source
from pipeline.runs.workspaces import RUNS, is_unfinished, params_of


@flow(name="retrain")
def retrain(
    photos: str,
    subject: SubjectChoice = SubjectChoice(),  # noqa: B008
    profile: ProfileChoice = AS_COMMITTED,
    overrides: dict[str, Any] = {},  # noqa: B006
    auto_promote: bool = False,
    commit: str = "HEAD",
    source: Path = Path(),
) -> State:
    """Fine-tune on photos that no registered version was trained on; end as "Unchanged" where one was.

    Photos that the newest version held out stay held out, so that versions are judged on the same ones.

    A retry resumes in the workspace of the first try, at the last checkpoint, unless the photos changed in between;
    what the first try registered and did not save or promote, it saves and promotes.

    Args:
        photos: where photos arrive; `definitions.photo_places` in prefect.yaml lists the places.
        subject: another subject than the committed one; its photos are called by its token.
        profile: a preset of parameters; the committed subject is carried over.
        overrides: parameters by dotted name, such as {"train.steps": 400}.
        auto_promote: go on to promotion; gates and champion decide.
        commit: what runs is this commit, branch or tag: changes that are not committed are not seen.
        source: the repository with dvc.yaml, on the worker's host.
    """
    check_form(source, photos, (source != Path(),))
    source = source.resolve()
    with registry_of(source):
        folder = current_photos(photos, source)
        params = params_of(source, commit, choices_of(subject, profile, overrides))
        model = params.register_.model
        known, workspace = trained_on(source, model, folder), source / RUNS / run_name(folder, source)
        if known and not is_unfinished(workspace):
            made = registration_of(workspace)
            if auto_promote and made is not None and (made["model"], str(made["version"])) == (model, known):
                return promoted(source, made)  # an earlier try of this run made it, and failed afterwards
            sentence = f"{model} version {known} was trained on exactly these photos"
            get_run_logger().info(sentence)
            return Completed(name="Unchanged", message=sentence, data={"model": model, "version": known})
        if params.prepare.heldout and (held := held_before(source, model, folder)):
            always = sorted({*params.prepare.always_heldout, *held})
            overrides = {"prepare.always_heldout": always, **overrides}
        made = fine_tune_isolated(subject, profile, overrides, str(folder), workspace.name, commit, source)
        if auto_promote:
            return promoted(source, made)
    return Completed(message=f"{made['model']} version {made['version']} is registered", data=made)


def run_name(folder: Path, source: Path) -> str:
    """The name of the fine-tuning: the same for every try of this flow run on the same photos."""
    photos = future_folder_md5(folder, source / DATA)
    return f"retrain-{str(flow_run.get_root_flow_run_id() or 'alone')[:8]}-{photos[:8]}"


def registration_of(workspace: Path) -> dict[str, Any] | None:
    """What the run of a workspace registered; None where it did not come so far."""
    return read_json(workspace / REGISTRATION) if (workspace / REGISTRATION).is_file() else None


def promoted(source: Path, made: dict[str, Any]) -> State:
    """Promote it as the command does; a refusal is an answer, not a failure of this run."""
    ref = f"models:/{made['model']}/{made['version']}"
    try:
        return Completed(message=promote(ref, source, by="retrain", reason="its photos changed"), data=made)
    except Refused as error:
        get_run_logger().warning(str(error))
        return Completed(name="NotPromoted", message=str(error), data=made)


@task(
    cache_policy=NO_CACHE,
    task_run_name="fetch photos",
    retries=2,
    retry_delay_seconds=[10, 60],
    retry_condition_fn=worth_trying,
)
def current_photos(photos: str, source: Path) -> Path:
    """A folder with the photos as they are now."""
    return fetch_source(photos, source)


@task(cache_policy=NO_CACHE, task_run_name="compare with the registry")
def trained_on(source: Path, model: str, folder: Path) -> str | None:
    """The newest version of the model that was trained on these photos."""
    md5 = future_folder_md5(folder, source / DATA)
    versions = versions_with(connect(source), "dataset_md5", md5, model)
    return str(max(int(version.version) for version in versions)) if versions else None


@task(cache_policy=NO_CACHE, task_run_name="photos held out before")
def held_before(source: Path, model: str, folder: Path) -> list[str]:
    """The photos of a folder that the newest version of the model was judged on, by content or else by name.

    A version whose record cannot be read says nothing; the log says so.
    """
    found = connect(source).search_model_versions(f"name = '{model}'")
    if not found:
        return []
    newest = max(int(version.version) for version in found)
    try:
        with find_record(source, f"models:/{model}/{newest}") as record:
            return still_there(record.lineage["photos"]["files"], folder)
    except (UserError, KeyError, TypeError) as error:
        get_run_logger().warning(f"which photos {model} version {newest} held out is unknown: {error}")
        return []


def still_there(photos: Iterable[Mapping[str, Any]], folder: Path) -> list[str]:
    """The names in a folder of the photos that a record calls held out; a photo may have another name by now."""
    held = [photo for photo in photos if photo.get("split") == "heldout"]
    digests, names = {photo["sha256"] for photo in held}, {photo["source"] for photo in held}
    files = scan_folder(folder)[0].photos
    return sorted(name for name in files if name in names or digest_file(folder / name) in digests)
