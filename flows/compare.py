"""Which method or parameters are best for this subject: a grid, several trainings each, one table."""

from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_image_artifact, create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas import State
from prefect.runtime import flow_run
from prefect.states import Completed

from flows.artifacts import as_data
from flows.forms import AS_COMMITTED, ProfileChoice, SubjectChoice, check_form, choices_of
from flows.isolated import RunRefused, fine_tune_isolated, name_of_run, registry_of
from flows.retrain import current_photos
from pipeline.errors import all_problems, grouped
from pipeline.evaluation.ranking import table_rows
from pipeline.layout import DATA
from pipeline.lineage.digests import future_folder_md5
from pipeline.runs.checks import check_run
from pipeline.runs.parameter_grid import (
    COMPARISONS,
    Cell,
    begin,
    begun_at,
    cells_of,
    check_photos,
    keep_training,
    kept_training,
    write_comparison,
)
from pipeline.runs.workspaces import NAME, NAMES, RUNS, commit_of, committed_texts, params_of

APART = {"register.alias": "compared"}  # the alias challenger does not move


@flow(name="compare", flow_run_name=name_of_run)
def compare(
    grid: dict[str, list[Any]],
    seeds: tuple[int, ...] = (1, 2, 3),
    subject: SubjectChoice = SubjectChoice(),  # noqa: B008
    profile: ProfileChoice = AS_COMMITTED,
    overrides: dict[str, Any] = {},  # noqa: B006
    photos: str = AS_COMMITTED,
    name: str = "",
    commit: str = "HEAD",
    source: Path = Path(),
) -> State:
    """Train every setting with every seed, one after the other, each in a workspace of its own; then rank them.

    A training that fails is left out and named. Tried again, the run keeps what is done, whatever became of the
    workspaces, and trains the rest at the commit that it began with. It stops as soon as the photos are others.

    Args:
        grid: values by parameter, such as {"train.method": ["dreambooth", "dreambooth-lora"]}.
        seeds: training seeds; every setting is trained once with each.
        subject: another subject than the committed one; its photos are called by its token.
        profile: a preset of parameters; the committed subject is carried over.
        overrides: parameters that all settings share, by dotted name.
        photos: where photos come from; `definitions.photo_places` in prefect.yaml lists the places.
        name: of the run, its workspace and its experiment; empty: made up.
        commit: what runs is this commit, branch or tag: changes that are not committed are not seen.
        source: the repository with dvc.yaml, on the worker's host.
    """
    check_form(source, photos, (source != Path(),))
    source, named = source.resolve(), name or name_of_run()
    owner, place = str(flow_run.get_root_flow_run_id()), source / COMPARISONS / named
    cells, at = cells_of(grid, seeds), begun_at(place, owner) or commit_of(source, commit)
    with registry_of(source):
        runs = {(cell.number, seed): f"{named}-{cell.number}-{seed}" for cell in cells for seed in seeds}
        problems = [f"'{run}': {NAMES}" for run in sorted(runs.values(), key=len)[-1:] if not NAME.match(run)]
        present = at == commit_of(source, "HEAD")  # another commit may hold other suites and judges than lie here
        texts = committed_texts(source, at, choices_of(subject, profile, overrides))
        for cell in cells:  # all of them, before the first hour is spent
            params = params_of(source, at, choices_of(subject, profile, {**overrides, **cell.overrides, **APART}))
            left = any(kept_training(place / f"{cell.number}-{seed}", owner) is None for seed in seeds)
            if left and present:
                of_cell = check_run(source, params, photos=False, texts=texts)
                problems += [f"{cell.title}: {problem}" for problem in of_cell]
        if problems:
            raise RunRefused(all_problems(f"the comparison {named}", grouped(problems)))
        folder = photos if photos in ("", AS_COMMITTED) else str(current_photos(photos, source))
        began = photos_md5(folder, source)
        begin(place, owner, at, began)
        done: dict[int, list[Path]] = {}
        made: list[str] = []
        failed: list[str] = []
        for cell in cells:
            for seed in seeds:
                chosen = {**overrides, **cell.overrides, **APART, "train.seed": seed}
                run, kept = runs[cell.number, seed], place / f"{cell.number}-{seed}"
                registration: Any = kept_training(kept, owner)
                if registration is None:
                    check_photos(began, photos_md5(folder, source))  # the trainings before took hours
                    state = fine_tune_isolated(subject, profile, chosen, folder, run, at, source, return_state=True)
                    if not state.is_completed():
                        failed.append(f"- {cell.title}, seed {seed}: {state.name}; see {run}")
                        get_run_logger().warning(failed[-1])
                        continue
                    registration = state.result()
                    keep_training(kept, source / RUNS / run, owner, registration)
                done.setdefault(cell.number, []).append(kept)
                made.append(f"- {cell.title}, seed {seed}: {registration['model']} {registration['version']}")
        ranking = rank_settings(place, cells, done)
    show(place, cells, ranking, made, failed)
    return Completed(message=ranking["sentence"], data=ranking)


def photos_md5(folder: str, source: Path) -> str | None:
    """The md5 of the photos in a folder as a workspace would have them; None for those of the commit."""
    return None if folder in ("", AS_COMMITTED) else future_folder_md5(Path(folder), source / DATA)


@task(cache_policy=NO_CACHE, task_run_name="rank")
def rank_settings(folder: Path, cells: list[Cell], done: dict[int, list[Path]]) -> dict[str, Any]:
    """The ranking, kept in the repository's own folder."""
    return write_comparison(folder, cells, done)


def show(folder: Path, cells: list[Cell], ranking: dict[str, Any], made: list[str], failed: list[str]) -> None:
    """One table, one sheet of pictures, and a summary on the page of the flow run."""
    create_table_artifact(table_rows(ranking), key="settings", description=ranking["sentence"])
    order = ", ".join(f"setting {cell.number}: {cell.title}" for cell in cells)
    create_image_artifact(as_data(folder / "pictures.png"), key="settings-pictures", description=order)
    lines = [f"## {ranking['sentence']}", "", *(f"- {caution}" for caution in ranking["cautions"]), ""]
    lines += ["Registered:", "", *made, "", *(["Left out, because they failed:", "", *failed, ""] if failed else [])]
    lines += [f"How it is decided: {ranking['rule']}.", "", f"Kept in `{folder}` on `{flow_run.get_name()}`'s host."]
    create_markdown_artifact("\n".join(lines), key="comparison", description="which setting is best")
