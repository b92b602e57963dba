"""`dreamtrace params check`: every mistake in params.yaml at once."""

from pathlib import Path

from pipeline.commands.errors import CommandError
from pipeline.errors import all_problems
from pipeline.layout import PARAMS


def check() -> None:
    """Check params.yaml, all of it at once, against the base, the suites, the judges and the photos that are here."""
    from pipeline.params import load_params
    from pipeline.runs.checks import gate_warnings

    params = load_params(PARAMS)
    refuse_mistakes(Path())
    for warning in gate_warnings(params):
        print(f"warning: {warning}")
    print(f"{PARAMS} is fine: {params.subject.token} on {params.base.model}, {params.train.steps} steps")


def refuse_mistakes(workspace: Path) -> None:
    """Stop before anything runs if a mistake can be found without running it.

    Raises:
        ParamsError: params.yaml cannot be used.
        CommandError: it does not fit the base, the suites, the judges or the photos; every problem is listed.
    """
    from pipeline.params import load_params
    from pipeline.runs.checks import check_run

    problems = check_run(workspace, load_params(workspace / PARAMS))
    if problems:
        raise CommandError(all_problems(str(PARAMS), problems))
