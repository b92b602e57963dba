"""Previews that a version's training drew on its way, as its run keeps them: one sheet for each step."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.files import read_json, scratch_folder
from pipeline.layout import STATE
from pipeline.params import flat_params
from pipeline.registry.artifacts import Artifacts, ArtifactsMissing, check_answers
from pipeline.registry.live_run import PREVIEW, prompts_digest, prompts_file
from pipeline.registry.store import connect

IMAGES = "images"  # where MLflow keeps pictures of a run
SHEET = re.compile(
    rf"^{PREVIEW}(?:-(?P<prompts>[0-9a-f]{{16}}))?.step.(?P<step>\d+).timestamp.(?P<time>\d+).[0-9a-f-]+\.png$"
)
RUN = re.compile(r"^[0-9a-f]{32}$")
KEPT = STATE / "studio" / "previews"  # of runs whose files are not on this machine
MOST_LETTERS = 6000  # of a parameter that MLflow keeps


@dataclass(frozen=True)
class Sheet:
    """A sheet by its path in the run's artifacts; `prompts` from left to right, None where they are not known.

    `assumed`: it does not name them itself.
    """

    path: str
    prompts: tuple[str, ...] | None
    assumed: bool = False


def preview_sheets(workspace: Path, run_id: str, prompts: Sequence[str]) -> dict[int, Sheet]:
    """The sheet of each step, in order; of a step that was drawn again, the newest.

    Sheets name their prompts; those of older versions do not. These are taken for the given ones where the run began
    with them, too, and the sheet has room for so many pictures: what the run had in between, nobody knows.

    Args:
        prompts: those of the version's record. A training that was stopped may have begun with others.

    Raises:
        ArtifactsAway: the run's store does not answer, or a sheet cannot be read.
    """
    if not RUN.match(run_id):
        return {}
    client = connect(workspace)
    run = client.get_run(run_id)
    check_answers(str(run.info.artifact_uri))
    newest: dict[int, tuple[int, str, str]] = {}
    for entry in client.list_artifacts(run_id, IMAGES):
        if found := SHEET.match(Path(entry.path).name):
            step, time = int(found["step"]), int(found["time"])
            newest[step] = max(newest.get(step, (0, "", "")), (time, entry.path, found["prompts"] or ""))
    known: dict[str, tuple[str, ...] | None] = {prompts_digest(prompts): tuple(prompts)}
    began_with_them = run.data.params.get("preview.prompts") == _as_parameter(prompts)
    sheets = {}
    for step, (_, path, digest) in sorted(newest.items()):
        if digest and digest not in known:
            known[digest] = _kept_prompts(workspace, run_id, digest)
        if digest:
            sheets[step] = Sheet(path, known[digest])
        else:
            alike = began_with_them and _fits(run_file(workspace, run_id, path), len(prompts))
            sheets[step] = Sheet(path, tuple(prompts) if alike else None, assumed=alike)
    return sheets


def run_file(workspace: Path, run_id: str, path: str) -> Path:
    """A sheet, or the prompts of sheets, on this machine; one that had to be fetched is kept for the next look.

    Raises:
        ArtifactsAway: it cannot be read.
    """
    kept = workspace / KEPT / run_id / Path(path).name
    if kept.is_file():
        return kept
    with scratch_folder() as scratch:
        file = Artifacts(connect(workspace), Path(scratch)).of_run(run_id, path)
        if not file.is_relative_to(scratch):
            return file
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(file, kept)
    return kept


def _kept_prompts(workspace: Path, run_id: str, digest: str) -> tuple[str, ...] | None:
    """The prompts that a run kept under their digest; None where they are not there any more."""
    try:
        return tuple(map(str, read_json(run_file(workspace, run_id, prompts_file(digest)))["prompts"]))
    except (ArtifactsMissing, ValueError, KeyError, TypeError):
        return None


def _as_parameter(prompts: Sequence[str]) -> str:
    """The prompts as MLflow keeps a run's parameters."""
    values: dict[str, Any] = {"preview": {"prompts": list(prompts)}}
    return flat_params(values)["preview.prompts"][:MOST_LETTERS]


def _fits(sheet: Path, count: int) -> bool:
    """Whether a sheet is a row of so many squares."""
    from PIL import Image

    with Image.open(sheet) as image:
        return bool(count) and image.width == count * image.height
