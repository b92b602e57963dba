"""The command `dreamtrace`. Heavy imports happen inside the commands, so that `--help` answers at once."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline import __version__
from pipeline.environment import prepare_environment
from pipeline.errors import UserError
from pipeline.layout import PARAMS

app = typer.Typer(
    help="Fine-tune Stable Diffusion on a few photos, and trace every checkpoint back to them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
profile_app = typer.Typer(help="Presets of params.yaml.", no_args_is_help=True)
params_app = typer.Typer(help="The parameters of this workspace.", no_args_is_help=True)
runs_app = typer.Typer(help="Isolated runs, and what is left of them.", no_args_is_help=True)
ui_app = typer.Typer(help="Open the pages of MLflow or Prefect on this machine.", no_args_is_help=True)
app.add_typer(profile_app, name="profile")
app.add_typer(params_app, name="params")
app.add_typer(runs_app, name="runs")
app.add_typer(ui_app, name="ui")


def main() -> None:
    """Entry point: errors meant for people are printed without a trace, exit status 1."""
    prepare_environment()
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


@app.command()
def demo() -> None:
    """Run the main job on the sample photos with the embedded base model."""
    from pipeline.launch import run_flow, show_result
    from pipeline.repro import fetch_data

    fetch_data(Path())
    show_result(Path(), run_flow(Path()))


@app.command()
def run(
    isolated: Annotated[str, typer.Option(help="in a clone of this repository under .dreamtrace/runs/NAME")] = "",
    at: Annotated[str, typer.Option(help="with --isolated: the commit to run")] = "HEAD",
    change: Annotated[
        list[str] | None, typer.Option("--set", help="with --isolated: a parameter, such as train.steps=400")
    ] = None,
) -> None:
    """Run all stages of this workspace as the Prefect flow `fine-tune`."""
    from pipeline.launch import read_changes, run_flow, run_isolated, show_result
    from pipeline.repro import fetch_data

    if isolated:
        run_isolated(Path(), isolated, at, read_changes(change or []))
        return
    if change or at != "HEAD":
        raise UserError("--set and --at change a clone, not this workspace: give --isolated NAME, too")
    fetch_data(Path())
    show_result(Path(), run_flow(Path()))


@app.command()
def up(
    auth: Annotated[bool, typer.Option("--auth", help="a password in front of both pages")] = False,
    prefect_port: Annotated[int, typer.Option(help="of Prefect's page and API")] = 4200,
    mlflow_port: Annotated[int, typer.Option(help="of MLflow's page and API")] = 5000,
) -> None:
    """Start MLflow, Prefect and the workers of this machine; Ctrl-C takes all of it down."""
    from pipeline.team.up import run_up

    run_up(Path(), prefect_port, mlflow_port, auth)


@app.command()
def deploy(
    slot: Annotated[
        list[str] | None, typer.Option(help="a device that holds one training at a time, such as HOST-gpu-0")
    ] = None,
) -> None:
    """Make work pools, deployments and the crash automation on the server of PREFECT_API_URL."""
    from pipeline.team.deployments import deploy as bring

    print(f"prefect.yaml is deployed; {bring(Path(), {}, slot or [])}")


@runs_app.command("clean")
def runs_clean(days: Annotated[float, typer.Option(help="only those older than this")] = 7) -> None:
    """Remove the folders of isolated runs whose results were pushed; others stay."""
    from pipeline.workspaces import RUNS, clean_workspaces

    removed, staying = clean_workspaces(RUNS, days)
    for folder in removed:
        print(f"removed {folder}")
    for folder in staying:
        print(f"kept    {folder}: its results are nowhere else")


@app.command()
def trace(
    ref: Annotated[
        str,
        typer.Argument(
            help="models:/NAME@ALIAS, models:/NAME/VERSION, a run's id, a model folder, a safetensors file, or a PNG "
            "that a registered model drew"
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="the whole record as JSON")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="recompute every link; status 1 unless all hold")] = False,
) -> None:
    """Show what a model was made from: parameters, base, code, and each photo."""
    from pipeline.launch import show_trace

    if not show_trace(Path(), ref, as_json, verify):
        raise typer.Exit(1)


@app.command()
def reproduce(
    ref: Annotated[str, typer.Argument(help="what `trace` takes")],
    into: Annotated[Path | None, typer.Option(help="the folder to work in; default: reproduced/NAME")] = None,
) -> None:
    """Make a model again from its record alone, and compare; status 1 where it came out different."""
    from pipeline.reproduction import run_reproduction

    if not run_reproduction(Path(), ref, into):
        raise typer.Exit(1)


@app.command()
def compare(
    first: Annotated[
        str, typer.Argument(help="what `trace` takes, a workspace, or an evaluation.json: the one in use")
    ],
    second: Annotated[str, typer.Argument(help="the same: the one that might replace it")],
    as_json: Annotated[bool, typer.Option("--json", help="all figures as JSON")] = False,
) -> None:
    """Is the second checkpoint better than the first? Paired over the same prompts and seeds."""
    from pipeline.launch import show_comparison

    show_comparison(Path(), first, second, as_json)


@app.command()
def promote(
    ref: Annotated[str, typer.Argument(help="models:/NAME/VERSION or models:/NAME@ALIAS")],
    reason: Annotated[str, typer.Option(help="why; kept on record")] = "",
    force: Annotated[bool, typer.Option("--force", help="in spite of every objection; needs --reason")] = False,
    allow_unclean: Annotated[bool, typer.Option(help="accept code with uncommitted changes")] = False,
    ask: Annotated[bool, typer.Option("--ask", help="wait until a person approves in the Prefect UI")] = False,
    by: Annotated[str, typer.Option(help="who promotes; default: the user of this machine")] = "",
) -> None:
    """Make a version the champion, unless gates, chain, code or the present champion speak against it."""
    from pipeline.champions import run_promotion

    run_promotion(Path(), ref, by, reason, force, allow_unclean, ask)


@app.command()
def rollback(
    name: Annotated[str, typer.Argument(help="the registered model")],
    reason: Annotated[str, typer.Option(help="why; kept on record")] = "",
    by: Annotated[str, typer.Option(help="who; default: the user of this machine")] = "",
) -> None:
    """Make the previous champion the champion again."""
    from pipeline.champions import run_rollback

    run_rollback(Path(), name, by, reason)


@app.command()
def publish(
    name: Annotated[str, typer.Argument(help="the registered model whose champion it is")],
    to: Annotated[str, typer.Option(help="s3://bucket/prefix; default: publish.to of params.yaml")] = "",
    by: Annotated[str, typer.Option(help="who; default: the user of this machine")] = "",
) -> None:
    """Bring the champion to S3; called again, it goes on where it was cut off."""
    from pipeline.champions import run_publication

    run_publication(Path(), name, to, by)


@app.command()
def fetch(
    url: Annotated[str, typer.Argument(help="s3://bucket/prefix/NAME")],
    to: Annotated[Path | None, typer.Option(help="the folder to make; default: NAME")] = None,
) -> None:
    """Download a published champion and verify every file of it."""
    from pipeline.champions import run_fetch

    run_fetch(url, to)


@app.command()
def impact(
    photo: Annotated[str, typer.Argument(help="a picture, altered or not, or the sha256 of one that is gone")],
    as_json: Annotated[bool, typer.Option("--json", help="the answer as JSON")] = False,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="read the whole registry again")] = False,
) -> None:
    """Which registered versions were trained on a photo."""
    from pipeline.withdrawal import show_impact

    show_impact(Path(), photo, as_json, rebuild)


@app.command()
def withdraw(
    photo: Annotated[str, typer.Argument(help="what `impact` takes")],
    reason: Annotated[str, typer.Option(help="why; kept on record")] = "",
    exact: Annotated[bool, typer.Option("--exact", help="leave out versions of a photo that only looks alike")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    by: Annotated[str, typer.Option(help="who; default: the user of this machine")] = "",
) -> None:
    """Take every version that was trained on a photo out of use, for good."""
    from pipeline.withdrawal import run_withdrawal

    run_withdrawal(Path(), photo, by, reason, exact, yes)


@app.command()
def export(
    ref: Annotated[str, typer.Argument(help="what `trace` takes")],
    file: Annotated[Path, typer.Argument(help="the safetensors file to write")],
) -> None:
    """Write a model as one file for ComfyUI, AUTOMATIC1111 and others."""
    from pipeline.launch import export_single_file

    export_single_file(Path(), ref, file)


@app.command()
def generate(
    prompt: Annotated[str, typer.Argument(help="what to draw, such as 'a photo of mysks plush toy on the beach'")],
    model: Annotated[str, typer.Option(help="what `trace` takes, such as models:/mysks@challenger or a model folder")],
    out: Annotated[Path, typer.Option(help="the PNG to write; of several pictures each name ends in its seed")] = Path(
        "generated.png"
    ),
    seed: Annotated[int, typer.Option(help="of the first picture")] = 0,
    count: Annotated[int, typer.Option(help="pictures")] = 1,
    negative: Annotated[str, typer.Option(help="what not to draw")] = "",
    steps: Annotated[int | None, typer.Option(help="denoising steps; default: as the model was judged")] = None,
    guidance: Annotated[float | None, typer.Option(help="how strongly the prompt pulls; default: as judged")] = None,
    size: Annotated[int | None, typer.Option(help="side in pixels; default: as trained")] = None,
) -> None:
    """Draw with a model; the picture carries the way back to it."""
    from pipeline.launch import generate as draw

    asked = {"seed": seed, "count": count, "negative": negative, "steps": steps, "guidance": guidance, "size": size}
    draw(Path(), model, prompt, out, asked)


@app.command()
def token(
    word: Annotated[str, typer.Argument(help="the placeholder token you think of, such as mysks")],
    draw: Annotated[Path | None, typer.Option(help="draw what the base shows for it into this PNG")] = None,
) -> None:
    """Whether a word is free to stand for a subject; status 1 where it is not."""
    from pipeline.advice import show_token

    if not show_token(Path(), word, draw):
        raise typer.Exit(1)


@app.command()
def estimate() -> None:
    """How much GPU memory the training of params.yaml takes, computed without a GPU."""
    from pipeline.advice import show_estimate

    show_estimate(Path())


@profile_app.command("list")
def profile_list() -> None:
    """The presets and what each is for."""
    from pipeline.profiles import profiles

    for profile in profiles():
        print(f"{profile.name:12} {profile.purpose}")


@profile_app.command("show")
def profile_show(name: str) -> None:
    """Print a preset."""
    from pipeline.profiles import find_profile

    print(find_profile(name).path.read_text(encoding="utf-8"), end="")


@profile_app.command("use")
def profile_use(name: str) -> None:
    """Put a preset in place as params.yaml; the present one is kept beside it."""
    from pipeline.profiles import use_profile

    kept = use_profile(name, PARAMS)
    print(f"{PARAMS} is now the profile {name}" + (f"; the one before is {kept}" if kept else ""))


@params_app.command("check")
def params_check() -> None:
    """Check params.yaml, all of it at once."""
    from pipeline.params import load_params

    params = load_params(PARAMS)
    print(f"{PARAMS} is fine: {params.subject.token} on {params.base.model}, {params.train.steps} steps")


@ui_app.command("mlflow")
def ui_mlflow(port: int = 5000) -> None:
    """MLflow: runs, curves, registered models. Stops with Ctrl-C."""
    from pipeline.launch import serve_mlflow

    serve_mlflow(Path(), port)


@ui_app.command("prefect")
def ui_prefect(port: int = 4200) -> None:
    """Prefect: flow runs and their stages. Stops with Ctrl-C."""
    from pipeline.launch import serve_prefect

    serve_prefect(port)


@app.command()
def version() -> None:
    """The version of dreamtrace."""
    print(__version__)


if __name__ == "__main__":
    main()
