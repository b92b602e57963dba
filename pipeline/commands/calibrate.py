"""`dreamtrace calibrate`: thresholds of the gates from checkpoints whose worth is known."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.errors import registry_failures
from pipeline.files import write_text
from pipeline.layout import PARAMS

Refs = list[str]


def calibrate(
    good: Annotated[Refs, typer.Option(help="what `compare` takes: a checkpoint that you approve of; may be repeated")],
    faulty: Annotated[Refs, typer.Option(help="the same: one with a fault that you made; may be repeated")],
    write: Annotated[bool, typer.Option("--write", help="put the thresholds into params.yaml")] = False,
) -> None:
    """Set the gates between good checkpoints and faulty ones of your own subject."""
    from pipeline.params import load_params
    from pipeline.registry.lookup import find_evaluation

    params = load_params(PARAMS)
    with registry_failures():
        approved, planted = (dict(find_evaluation(Path(), ref) for ref in refs) for refs in (good, faulty))

    from rich.console import Console
    from rich.table import Table

    from pipeline.evaluation.calibration import calibrate as thresholds_of
    from pipeline.evaluation.calibration import check
    from pipeline.evaluation.comparison import cautions
    from pipeline.runs.dvc_locks import only_change
    from pipeline.runs.subject_values import read_commented, write_commented

    rows = thresholds_of(list(approved.values()), planted, params.gates)
    table = Table("gate", "before", "after", "worst good", "worst faulty", "which is", "threshold")
    for row in rows:
        numbers = ("off" if value is None else f"{value:.4g}" for value in (row.before, row.after))
        figures = ("-" if value is None else f"{value:.4f}" for value in (row.good, row.faulty))
        table.add_row(row.gate, *numbers, *figures, row.by or "-", row.outcome)
    Console(highlight=False).print(table)
    for row in rows:
        if row.clipped:
            print(row.clipped)
    for caution in cautions([*approved.values(), *planted.values()]):
        print(caution)
    failing = check(rows, approved, planted)
    for name in approved:
        print(f"{name}: {'still fails ' + ', '.join(failing[name]) if failing[name] else 'passes every gate'}")
    for name in planted:
        print(f"{name}: {'fails ' + ', '.join(failing[name]) if failing[name] else 'passes: no gate finds its fault'}")
    if not write:
        print("nothing was written; --write puts the thresholds into params.yaml")
        return
    with only_change(Path(), "dreamtrace calibrate"):
        values = read_commented(PARAMS.read_text(encoding="utf-8"))
        for row in rows:
            values["gates"][row.gate] = row.after
        write_text(PARAMS, write_commented(values))
    print(f"{PARAMS} has the new thresholds; `dvc repro evaluate register` judges the present model by them")
