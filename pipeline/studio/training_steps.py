"""Previews that a version's training drew on its way, as its run keeps them: one sheet for each step."""

import re
import shutil
from pathlib import Path

from pipeline.files import scratch_folder
from pipeline.layout import STATE
from pipeline.registry.artifacts import Artifacts, check_answers
from pipeline.registry.store import connect

IMAGES = "images"  # where MLflow keeps pictures of a run
SHEET = re.compile(r"^preview.step.(?P<step>\d+).timestamp.(?P<time>\d+).[0-9a-f-]+\.png$")
RUN = re.compile(r"^[0-9a-f]{32}$")
KEPT = STATE / "studio" / "previews"  # of runs whose files are not on this machine


def preview_files(workspace: Path, run_id: str) -> dict[int, str]:
    """The sheet of each step by its path in the run's artifacts, in order; of a step that was drawn again, the newest.

    Raises:
        ArtifactsAway: the run's store does not answer.
    """
    if not RUN.match(run_id):
        return {}
    client = connect(workspace)
    check_answers(str(client.get_run(run_id).info.artifact_uri))
    newest: dict[int, tuple[int, str]] = {}
    for entry in client.list_artifacts(run_id, IMAGES):
        if found := SHEET.match(Path(entry.path).name):
            step, time = int(found["step"]), int(found["time"])
            newest[step] = max(newest.get(step, (0, "")), (time, entry.path))
    return {step: path for step, (_, path) in sorted(newest.items())}


def preview_sheet(workspace: Path, run_id: str, path: str) -> Path:
    """One of `preview_files` on this machine; one that had to be fetched is kept for the next look.

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
