"""What the commands of `dreamtrace` do with the tools around the packages: DVC, Prefect, MLflow."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import yaml

from pipeline.base.resolve import native_size
from pipeline.errors import UserError
from pipeline.layout import PARAMS, REPORT_GRID, REPORT_PAGE
from pipeline.params import load_params

NOTHING_TO_SAY = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "ERROR", "PREFECT_SERVER_LOGGING_LEVEL": "ERROR"}


class LaunchError(UserError):
    """A tool that a command needs did not do its part."""


def run_flow(workspace: Path) -> dict[str, Any]:
    """Run the flow `fine-tune` in this process; returns what `register` wrote.

    Raises:
        ParamsError: params.yaml cannot be used.
        LaunchError: a stage failed.
    """
    load_params(workspace / PARAMS)
    for name, value in NOTHING_TO_SAY.items():
        os.environ.setdefault(name, value)
    from flows.fine_tune import fine_tune
    from flows.stage_task import StageFailed

    try:
        return fine_tune(workspace.resolve())
    except StageFailed as error:
        stage = str(error).split(" failed", 1)[0]
        raise LaunchError(f"{stage} failed; what it said stands above") from None


def run_isolated(workspace: Path, name: str, commit: str, overrides: dict[str, Any]) -> None:
    """Run the flow `fine-tune-isolated` in this process, and say what came of it.

    Raises:
        WorkspaceError: the clone cannot be made.
        LaunchError: a stage failed, or the results could not be pushed.
    """
    for variable, value in NOTHING_TO_SAY.items():
        os.environ.setdefault(variable, value)
    from flows.isolated import ResultsNotSafe, fine_tune_isolated
    from flows.stage_task import StageFailed
    from pipeline.workspaces import RUNS

    folder = workspace.resolve() / RUNS / name
    try:
        made = fine_tune_isolated(overrides=overrides, name=name, commit=commit, source=workspace.resolve())
    except StageFailed as error:
        stage = str(error).split(" failed", 1)[0]
        raise LaunchError(f"{stage} failed in {folder}; what it said stands above") from None
    except ResultsNotSafe as error:
        raise LaunchError(str(error)) from None
    print(f"{made['model']} version {made['version']} is registered; `dvc exp show` lists the run as {name}")


def read_changes(changes: list[str]) -> dict[str, Any]:
    """'train.steps=400' and the like, values as YAML has them.

    Raises:
        LaunchError: without an equals sign.
    """
    found = {}
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals:
            raise LaunchError(f"--set wants NAME=VALUE, found '{change}'")
        found[name] = yaml.safe_load(value)
    return found


def show_result(workspace: Path, registration: dict[str, Any]) -> None:
    """Print the version, the report and how to open the pages."""
    from rich.console import Console

    name, version = registration["model"], registration["version"]
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"\n[bold green]{name} version {version}[/] is registered, alias {registration['alias']}.")
    console.print(f"  report   {(workspace / REPORT_PAGE).resolve()}")
    console.print(f"  grid     {(workspace / REPORT_GRID).resolve()}")
    command = _command()
    console.print(f"  lineage  {command} trace models:/{name}@{registration['alias']}")
    console.print(f"  MLflow   {command} ui mlflow     then open http://127.0.0.1:5000")
    console.print(f"  Prefect  {command} ui prefect    then open http://127.0.0.1:4200")


def show_trace(workspace: Path, ref: str, as_json: bool, check: bool) -> bool:
    """Print the record behind a reference, as a tree or as JSON; with `check` how each link stands.

    Returns:
        False where a link was found broken or could not be checked.

    Raises:
        UserError: the reference cannot be resolved, or what it names has no record.
    """
    from dataclasses import asdict

    from rich.console import Console

    from pipeline.lineage.links import Evidence, verdict
    from pipeline.lineage.trace import lineage_tree, links_tree
    from pipeline.lineage.verify import verify
    from pipeline.registry.lookup import find_record

    with find_record(workspace, ref) as found:
        evidence = Evidence(workspace, found.model, found.tags, found.files, found.header)
        links = verify(found.lineage, evidence) if check else []
    if as_json:
        value: dict[str, Any] = {"ref": found.title, **found.facts, "lineage": found.lineage}
        if check:
            value |= {"verdict": verdict(links), "links": [asdict(link) for link in links]}
        print(json.dumps(value, indent=2, ensure_ascii=False))
    else:
        console = Console(highlight=False, soft_wrap=True)
        console.print(lineage_tree(found.title, found.lineage, found.facts))
        if check:
            console.print(links_tree(links))
    return not check or verdict(links) == "verified"


def show_comparison(workspace: Path, first: str, second: str, as_json: bool) -> None:
    """Print how the second checkpoint differs from the first, metric by metric, and what follows.

    Raises:
        UnknownVersion: one of them was not judged.
        NotComparable: they were judged in different ways.
    """
    from pipeline.evaluation.comparison import compare
    from pipeline.registry.lookup import find_evaluation

    names, evaluations = zip(*(find_evaluation(workspace, ref) for ref in (first, second)), strict=True)
    found = compare(*evaluations)
    if as_json:
        print(json.dumps({"first": names[0], "second": names[1], **found}, indent=2))
        return
    print(f"{names[1]} against {names[0]}")
    for row in found["differences"]:
        between = f"{row['low']:+.4f} to {row['high']:+.4f}"
        print(f"  {row['title']:<34} {row['value']:+.4f}  ({between})  p {row['p']:.4f}  {row['verdict']}")
    for name, reason in found["missing"].items():
        print(f"  {name}: not compared, {reason}")
    print(found["sentence"])


def export_single_file(workspace: Path, ref: str, target: Path) -> None:
    """Write the model behind a reference as one file in Stable Diffusion's original layout, its record in the header.

    Raises:
        UserError: the reference cannot be resolved, its weights are not to be had, or the file exists.
    """
    import shutil

    from pipeline.files import read_json
    from pipeline.lineage.header import HEADER_KEY, read_header
    from pipeline.registry.lookup import find_record
    from pipeline.training.single_file import write_single_file

    with find_record(workspace, ref) as found:
        if found.model is None:
            raise LaunchError(f"the weights of {found.title} are not to be had here")
        header = read_header(next(iter(sorted((found.model / "unet").glob("*.safetensors")))))
        token = found.lineage["params"]["train"]["token"]
        words = read_json(found.model / "text_encoder" / "config.json")["vocab_size"]
        known = words - token["vectors"] if token["learn"] else None
        write_single_file(found.model, target, {HEADER_KEY: json.dumps(header, sort_keys=True)}, known)
        print(f"{target} holds {found.title}")
        name = f"{found.lineage['subject']['token']}.safetensors"
        if known is not None and not (target.parent / name).exists():
            shutil.copy(found.model / "embeddings" / name, target.parent / name)
            print(f"{target.parent / name} holds the token, to be loaded beside it as an embedding (textual inversion)")


def generate(workspace: Path, ref: str, prompt: str, out: Path, asked: dict[str, Any]) -> None:
    """Draw a prompt with the model behind a reference: one PNG, or several whose names count on.

    Args:
        asked: seed, and the parameters of `pipeline.sampling.orders.read_order`; what is None is the model's own.

    Raises:
        UserError: the reference cannot be resolved, its weights are not to be had, a value is impossible, or a file
            exists.
    """
    from pipeline.files import write_bytes
    from pipeline.lineage.header import read_header
    from pipeline.registry.lookup import find_record
    from pipeline.sampling.orders import read_order
    from pipeline.sampling.sampler import Sampler
    from pipeline.sampling.signed import draw_order

    with find_record(workspace, ref) as found:
        if found.model is None:
            raise LaunchError(f"the weights of {found.title} are not to be had here")
        draw = found.lineage["params"]["sample"]["draw"]
        size = found.lineage["params"]["prepare"]["size"] or native_size(found.model)
        given = {name: value for name, value in asked.items() if value is not None}
        order = read_order([(prompt, given.pop("seed", 0))], given, {**draw, "size": size})
        files = (
            [out]
            if len(order.requests) == 1
            else [out.with_name(f"{out.stem}-{request.seed}{out.suffix}") for request in order.requests]
        )
        there = [str(file) for file in files if file.exists()]
        if there:
            raise LaunchError(f"{', '.join(there)} exists; remove it or name another file")
        origin = read_header(next(iter(sorted((found.model / "unet").glob("*.safetensors")))))
        sampler = Sampler.load(found.model, draw["scheduler"], draw["precision"])
        for file, png in zip(files, draw_order(sampler, order, origin, draw["batch"], draw["scheduler"]), strict=True):
            write_bytes(file, png)
            print(file)


def serve_mlflow(workspace: Path, port: int) -> None:
    """Become MLflow's server on the loopback interface."""
    from pipeline.registry.store import connect, tracking_uri

    connect(workspace)  # sets a new database up, and refuses one that does not answer
    arguments = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    _become("mlflow", [*arguments, "--backend-store-uri", tracking_uri(workspace)])


def serve_prefect(port: int) -> None:
    """Become Prefect's server on the loopback interface."""
    from pipeline.team.servers import page_environment, prefect_server

    os.environ.update(page_environment(port))
    _become("prefect", prefect_server(port)[1:])


def _become(tool: str, arguments: list[str]) -> None:
    program = Path(sys.executable).parent / tool
    if not program.is_file():
        raise LaunchError(f"{program} is not installed; `make setup` installs it")
    sys.stdout.flush()
    os.execv(program, [str(program), *arguments])


def _command() -> str:
    """How the user calls this program: its name where it is on the path, else its path."""
    from shutil import which

    here = Path(sys.argv[0]).resolve()
    if which("dreamtrace") and Path(str(which("dreamtrace"))).resolve() == here:
        return "dreamtrace"
    try:
        return str(here.relative_to(Path.cwd()))
    except ValueError:
        return str(here)
