"""`dreamtrace demo`, `run`, `runs clean`: the main job, here or in a clone of the repository."""

import sys
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.commands.errors import CommandError, finite
from pipeline.commands.flow_process import prepare_servers, stage_failures
from pipeline.commands.params import refuse_mistakes
from pipeline.commands.withdrawal_warning import warn_of_withdrawn_inputs
from pipeline.errors import UserError, all_problems, joined

if TYPE_CHECKING:
    from pipeline.params import Params
    from pipeline.runs.choices import Choices

SAMPLE = "pocket"  # the profile of the demo


def demo() -> None:
    """Run the main job on the sample photos with the embedded base model."""
    refuse_others(Path())
    _run_here(Path())


def refuse_others(workspace: Path) -> None:
    """Stop a demo where the workspace has another subject or base than the sample: it may be a training of hours.

    Raises:
        ParamsError: params.yaml cannot be used.
        CommandError: it has.
    """
    from pipeline.layout import PARAMS
    from pipeline.params import load_params
    from pipeline.runs.profiles import find_profile

    here, sample = load_params(workspace / PARAMS), load_params(find_profile(SAMPLE).path)
    ours, theirs = ({"base.model": one.base.model, **_subject_of(one)} for one in (here, sample))
    if other := [f"{key} is {ours[key]}, not {theirs[key]}" for key in ours if ours[key] != theirs[key]]:
        raise CommandError(
            f"the demo trains the sample, but {PARAMS} has something else: {joined(other)}: `dreamtrace run` trains "
            f"that, {here.train.steps} steps; a fresh clone has the demo"
        )


def _subject_of(params: "Params") -> dict[str, str]:
    """The subject's values by dotted name, as YAML has them."""
    values = params.subject.model_dump()
    return {f"subject.{key}": "null" if value is None else str(value) for key, value in values.items()}


def run(
    isolated: Annotated[str, typer.Option(help="in a clone of this repository under .dreamtrace/runs/NAME")] = "",
    at: Annotated[str, typer.Option(help="with --isolated: the commit to run")] = "HEAD",
    change: Annotated[
        list[str] | None, typer.Option("--set", help="with --isolated: a parameter, such as train.steps=400")
    ] = None,
) -> None:
    """Run all stages of this workspace as the Prefect flow `fine-tune`."""
    if isolated:
        _run_isolated(Path(), isolated, at, read_changes(change or []))
        return
    if change or at != "HEAD":
        raise CommandError("--set and --at change a clone, not this workspace: give --isolated NAME, too")
    _run_here(Path())


def clean(
    days: Annotated[float, typer.Option(callback=finite, help="only those that ended so long ago")] = 7,
) -> None:
    """Remove the folders of isolated runs whose results are safe."""
    from pipeline.runs.workspaces import RUNS, clean_workspaces, has_result, how_to_finish

    removed, working, staying = clean_workspaces(RUNS, days)
    for folder in removed:
        print(f"removed {folder}")
    for folder in working:
        print(f"kept    {folder}: a run is at work in it")
    for folder in staying:
        if has_result(folder):
            print(f"kept    {folder}: its results are saved nowhere else: {how_to_finish(folder)}")
        else:
            print(f"kept    {folder}: it ended without a model; `dreamtrace clean` removes it once it is idle")
    if not (removed or working or staying):
        print(f"no run in {RUNS} is older than {days:g} days")


def read_changes(changes: list[str]) -> dict[str, Any]:
    """Parameters by dotted name from 'train.steps=400' and the like; values are read as YAML.

    Raises:
        CommandError: without an equals sign, or not YAML.
    """
    from pipeline.yaml_files import YamlError, parse_yaml

    found = {}
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals:
            raise CommandError(f"--set wants NAME=VALUE, found '{change}'")
        try:
            found[name] = parse_yaml(value, f"--set {name}")
        except YamlError as error:
            raise CommandError(str(error)) from None
    return found


def _run_here(workspace: Path) -> None:
    from pipeline.layout import PARAMS
    from pipeline.params import load_params
    from pipeline.runs.dvc import fetch_data
    from pipeline.runs.dvc_locks import only_run

    fetch_data(workspace)
    refuse_mistakes(workspace)
    warn_of_withdrawn_inputs(workspace, load_params(workspace / PARAMS))
    with only_run(workspace):
        prepare_servers(workspace)
        registration = _fine_tune(workspace)
    _show_result(workspace, registration)


def _fine_tune(workspace: Path) -> dict[str, Any]:
    from flows.fine_tune import fine_tune

    with stage_failures():
        return fine_tune(workspace.resolve())


def _run_isolated(workspace: Path, name: str, commit: str, overrides: dict[str, Any]) -> None:
    from pipeline.runs.choices import Choices
    from pipeline.runs.workspaces import RUNS, begun_with

    source, choices = workspace.resolve(), Choices(overrides=overrides)
    if not overrides and commit == "HEAD":  # without options it goes on with what the run was begun with
        commit, choices = begun_with(source, source / RUNS / name) or (commit, choices)
    refuse_isolated(source, source / RUNS, name, commit, choices)
    folder, params = _looked_at(source, source / RUNS / name, commit, choices)
    warn_of_withdrawn_inputs(source, params, folder)
    prepare_servers(source)
    from flows.forms import form_of
    from flows.isolated import ResultsNotSafe, fine_tune_isolated

    with stage_failures(str(source / RUNS / name)):
        try:
            made = fine_tune_isolated(**form_of(choices), name=name, commit=commit, source=source)
        except ResultsNotSafe as error:
            raise CommandError(str(error)) from None
    print(f"{made['model']} version {made['version']} is registered; `dvc exp show` lists the run as {name}")


def refuse_isolated(source: Path, runs: Path, name: str, commit: str, choices: "Choices") -> None:
    """Stop before a flow run exists where an isolated run can be seen to go wrong.

    A run that is unfinished is looked at where it goes on, and not at all once it has registered its version.

    Raises:
        CommandError: the name is impossible or taken, git has no such commit, a parameter does not exist or does not
            fit the others, the base, the suites or the judges; every problem is listed.
    """
    from pipeline.layout import PARAMS, PREPARED, REGISTRATION
    from pipeline.params import load_params
    from pipeline.runs.checks import check_run
    from pipeline.runs.workspaces import committed_texts, is_unfinished, name_problems, params_of

    problems, begun = name_problems(source, runs, name, commit, choices), runs / name
    try:
        if problems or not is_unfinished(begun):
            at = "HEAD" if problems else commit
            texts = committed_texts(source, at, choices)
            problems += check_run(source, params_of(source, at, choices), texts=texts)
        elif not (begun / REGISTRATION).is_file():
            prepared = (begun / PREPARED).exists()  # its photos are taken anew before that
            problems += check_run(begun, load_params(begun / PARAMS), photos=prepared)
    except UserError as error:
        problems += [] if str(error) in problems else [str(error)]
    if problems:
        raise CommandError(all_problems(f"the run {name}", problems))


def _looked_at(source: Path, begun: Path, commit: str, choices: "Choices") -> tuple[Path, "Params"]:
    """The folder whose photos tell what an isolated run trains on, and its parameters: its own where it goes on."""
    from pipeline.layout import PARAMS
    from pipeline.params import load_params
    from pipeline.runs.workspaces import is_unfinished, params_of

    if is_unfinished(begun):
        return begun, load_params(begun / PARAMS)
    return source, params_of(source, commit, choices)


def _show_result(workspace: Path, registration: dict[str, Any]) -> None:
    """Print the version, the report and how to open the pages."""
    from rich.console import Console

    from pipeline.layout import REPORT_GRID, REPORT_PAGE

    name, version = registration["model"], registration["version"]
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"\n[bold green]{name} version {version}[/] is registered{_alias(registration)}.")
    console.print(f"  report   {(workspace / REPORT_PAGE).resolve()}")
    console.print(f"  grid     {(workspace / REPORT_GRID).resolve()}")
    command = _program()
    console.print(f"  lineage  {command} trace models:/{name}/{version}")
    console.print(f"  MLflow   {command} ui mlflow     then open http://127.0.0.1:5000")
    console.print(f"  Prefect  {command} ui prefect    then open http://127.0.0.1:4200")


def _alias(registration: dict[str, Any]) -> str:
    alias = registration["alias"]
    if registration.get("withdrawn"):
        return "; it is withdrawn, and gets no alias"
    return f", alias {alias}" if alias else "; a version that passed its gates keeps the alias"


def _program() -> str:
    """How the user calls this program: its name where it is on the path, else its path."""

    here = Path(sys.argv[0]).resolve()
    if which("dreamtrace") and Path(str(which("dreamtrace"))).resolve() == here:
        return "dreamtrace"
    try:
        return str(here.relative_to(Path.cwd()))
    except ValueError:
        return str(here)
