"""`dreamtrace compare`: is one checkpoint better than another?"""

import json
from pathlib import Path
from typing import Annotated

import typer


def compare(
    first: Annotated[
        str, typer.Argument(help="what `trace` takes, a workspace, or an evaluation.json: the one in use")
    ],
    second: Annotated[str, typer.Argument(help="the same: the one that might replace it")],
    as_json: Annotated[bool, typer.Option("--json", help="all figures as JSON")] = False,
) -> None:
    """Is the second checkpoint better than the first? Paired over the same prompts and seeds."""

    from pipeline.evaluation.comparison import compare as compare_evaluations
    from pipeline.evaluation.known_interval import NOT_KNOWN
    from pipeline.registry.lookup import find_evaluation

    names, evaluations = zip(*(find_evaluation(Path(), ref) for ref in (first, second)), strict=True)
    found = compare_evaluations(*evaluations)
    if as_json:
        print(json.dumps({"first": names[0], "second": names[1], **found}, indent=2))
        return
    print(f"{names[1]} against {names[0]}")
    for row in found["differences"]:
        between = NOT_KNOWN if row["low"] is None else f"{row['low']:+.4f} to {row['high']:+.4f}"
        verdict = row["verdict"] + (f" by {row['margin']:g}" if row["verdict"] == "not worse" else "")
        print(f"  {row['title']:<34} {row['value']:+.4f}  ({between})  p {row['p']:.4f}  {verdict}")
    for name, reason in found["missing"].items():
        print(f"  {name}: not compared, {reason}")
    for caution in found["cautions"]:
        print(f"  {caution}")
    print(found["sentence"])
