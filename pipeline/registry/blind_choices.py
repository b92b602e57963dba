"""Blind choices of people, kept in the registry: a file of its own for each among the artifacts of a version's run.

A file is written once and never again, so that nothing said before is lost, whoever writes at the same time.
"""

import json
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.errors import first_line
from pipeline.evaluation.preference import BASE, Choice, Side, Tally, tally
from pipeline.files import scratch_folder
from pipeline.registry.artifacts import Artifacts, ArtifactsAway, check_answers
from pipeline.registry.lookup import UnknownVersion, find_record, recorded_evaluation, registered_version
from pipeline.registry.store import connect


def choices_folder(digest: str) -> str:
    """Where in a run's artifacts the choices about the content with this digest lie."""
    return f"choices/{digest[:16]}"


def keep_choice(workspace: Path, choice: Choice) -> None:
    """Add one to the record of the version that it is about.

    Raises:
        UnknownVersion: the registry has no such version.
        ArtifactsAway: its files cannot be written now.
    """
    version = registered_version(workspace, choice.version)
    client = connect(workspace)
    check_answers(str(client.get_run(version.run_id).info.artifact_uri))
    folder = choices_folder(str(version.tags["content_digest"]))
    stamp = choice.at.replace(":", "").replace("-", "")
    client.log_dict(version.run_id, choice.model_dump(), f"{folder}/{stamp}-{uuid.uuid4().hex[:12]}.json")


def read_choices(workspace: Path, reference: str) -> tuple[list[Choice], int]:
    """All choices about a version, the oldest first, and how many files of its record cannot be read.

    Raises:
        UnknownVersion: the registry has no such version.
        ArtifactsAway: its files cannot be read now.
    """
    version = registered_version(workspace, reference)
    client = connect(workspace)
    folder = choices_folder(str(version.tags.get("content_digest", "")))
    try:
        there = bool(version.run_id and client.list_artifacts(version.run_id, folder))
    except Exception as error:  # a run that is gone, or a store of files that is away: each has errors of its own
        raise ArtifactsAway(f"the choices about {reference} cannot be read: {first_line(error)}") from None
    if not there:
        return [], 0
    found, broken = [], 0
    with scratch_folder() as scratch:
        for path in sorted(Artifacts(client, Path(scratch)).of_run(version.run_id, folder).glob("*.json")):
            try:
                found.append(Choice.model_validate(json.loads(path.read_text(encoding="utf-8"))))
            except (ValueError, ValidationError, OSError):
                broken += 1
    return sorted(found, key=lambda choice: choice.at), broken


def tallies(workspace: Path, reference: str) -> list[Tally]:
    """What people preferred, for each side that a version was compared with.

    Raises:
        UnknownVersion: the registry has no such version.
        ArtifactsAway: its files cannot be read now.
    """
    choices, _ = read_choices(workspace, reference)
    by_side: dict[str, list[Choice]] = {}
    for choice in choices:
        by_side.setdefault(choice.against, []).append(choice)
    ours = _evaluation(workspace, reference) if choices else None
    found = []
    for against, some in by_side.items():
        judged: dict[Side, dict[str, Any] | None] = {
            "version": ours,
            "against": None if against == BASE else _evaluation(workspace, against),
        }
        found.append(tally(some, judged))
    return found


def now() -> str:
    """The time as choices keep it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _evaluation(workspace: Path, reference: str) -> dict[str, Any] | None:
    try:
        with find_record(workspace, reference) as found:
            return recorded_evaluation(found)
    except UnknownVersion:
        return None
