"""`dreamtrace list` and `status`: what is here, what is at work, and what comes next."""

import json
from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import counted, in_units

AS_JSON = Annotated[bool, typer.Option("--json", help="print all of it as JSON")]


def list_models(as_json: AS_JSON = False) -> None:
    """Registered models: versions, aliases, verdicts, and the disk they take."""
    from pipeline.registry.overview import overview

    found = overview(Path())
    if as_json:
        print(json.dumps({name: [one.as_json() for one in versions] for name, versions in found.items()}, indent=2))
        return
    if not found:
        print("no model was registered yet; `dreamtrace new` and `dreamtrace run` make one")
    for name, versions in found.items():
        known = [version.size for version in versions if version.size is not None]
        count = counted(len(versions), "version")
        print(f"{name}: {count}" + (f", {in_units(sum(known))} on disk" if known else ""))
        for version in versions:
            aliases = ", ".join(version.aliases) or "-"
            size = "" if version.size is None else f"  {in_units(version.size)}"
            print(f"  {version.reference}  {aliases}  {version.state}  {version.created}{size}")
            if version.verdict:
                print(f"    {version.judged}")
            if version.why_barred not in ("", version.state):
                print(f"    {version.why_barred}")
            print(f"    content {version.content_digest or 'unknown'}")


def status(as_json: AS_JSON = False) -> None:
    """What runs, what is up to date, and what to do next."""
    from pipeline.runs.status import read_status

    found = read_status(Path())
    if as_json:
        print(json.dumps(found.as_json(), indent=2))
        return
    for running in found.running:
        step = "" if running.step is None else f", step {running.step} of {running.steps}"
        print(f"at work  {running.name}{step}  ({running.folder})")
    if not found.running:
        print("at work  nothing")
    for name, address in found.servers.items():
        print(f"page     {name} {address}")
    for name, state in found.stages.items():
        print(f"stage    {name:10} {state}")
    for name in found.uncommitted:
        print(f"changed  {name} is not committed")
    for problem in found.problems:
        print(f"PROBLEM  {problem}")
    for step in found.next:
        print(f"next     {step}")
