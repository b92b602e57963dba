"""Previews that a version's training drew on its way, as its run keeps them: sheets by step, prompts and seed."""

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
from pipeline.registry.live_run import PREVIEW, asked_digest, asked_file
from pipeline.registry.store import connect

IMAGES = "images"  # where MLflow keeps pictures of a run
SHEET = re.compile(
    rf"^{PREVIEW}(?:-(?P<asked>[0-9a-f]{{16}}))?.step.(?P<step>\d+).timestamp.(?P<time>\d+).[0-9a-f-]+\.png$"
)
RUN = re.compile(r"^[0-9a-f]{32}$")
KEPT = STATE / "studio" / "previews"  # of runs whose files are not on this machine
MOST_LETTERS = 6000  # of a parameter that MLflow keeps
UNNAMED = "unnamed"  # sheets that do not say what they were drawn for


@dataclass(frozen=True)
class Asked:
    """What a sheet was drawn for: prompts from left to right, and the seed of them all, None where it is not known."""

    prompts: tuple[str, ...]
    seed: int | None


@dataclass(frozen=True)
class Sheet:
    """A sheet by its path in the run's artifacts; of its step, `key` names it. `asked`: None where it is not known.

    `assumed`: it does not name its prompts itself.
    """

    step: int
    key: str
    path: str
    asked: Asked | None
    assumed: bool = False


def preview_sheets(workspace: Path, run_id: str, prompts: Sequence[str], seed: int | None) -> list[Sheet]:
    """The sheets by step, the newest of a step last; one for all that was drawn of the same at a step, the newest.

    Sheets name their prompts and seed; those of older versions name no seed, or neither. What they do not name is taken
    for the given where the run began with it, too, and the sheet has room for so many pictures: what the run had in
    between, nobody knows.

    Args:
        prompts: those of the version's record. A training that was stopped may have begun with others.
        seed: the same of the seed.

    Raises:
        ArtifactsAway: the run's store does not answer, or a sheet cannot be read.
    """
    if not RUN.match(run_id):
        return []
    client = connect(workspace)
    run = client.get_run(run_id)
    check_answers(str(run.info.artifact_uri))
    newest: dict[tuple[int, str], tuple[int, str]] = {}
    for entry in client.list_artifacts(run_id, IMAGES):
        if found := SHEET.match(Path(entry.path).name):
            place = int(found["step"]), found["asked"] or UNNAMED
            newest[place] = max(newest.get(place, (0, "")), (int(found["time"]), entry.path))
    began = run.data.params
    known_seed = seed if began.get("preview.seed") == str(seed) else None
    began_with_them = began.get("preview.prompts") == _as_parameter(prompts)
    named: dict[str, Asked | None] = {}
    if seed is not None:
        named[asked_digest(prompts, seed)] = Asked(tuple(prompts), seed)
    sheets = []
    for (step, key), (_, path) in sorted(newest.items(), key=lambda one: (one[0][0], one[1])):
        if key == UNNAMED:
            alike = began_with_them and _fits(run_file(workspace, run_id, path), len(prompts))
            sheets.append(Sheet(step, key, path, Asked(tuple(prompts), known_seed) if alike else None, assumed=alike))
            continue
        if key not in named:
            named[key] = _kept(workspace, run_id, key, known_seed)
        sheets.append(Sheet(step, key, path, named[key]))
    return sheets


@dataclass(frozen=True)
class Row:
    """The previews of one prompt and seed: for each step the sheet and the place in it, None where none was drawn."""

    prompt: str
    seed: int | None
    cells: list[tuple[Sheet, int] | None]


def preview_table(sheets: Sequence[Sheet], first: Sequence[str]) -> tuple[list[int], list[Row]]:
    """Steps, and a row for each prompt and seed that sheets are known to show; the prompts `first` come first."""
    shown: dict[tuple[str, int | None], dict[int, tuple[Sheet, int]]] = {}
    known = [(sheet, sheet.asked) for sheet in sheets if sheet.asked is not None]
    for sheet, asked in known:
        for number, prompt in enumerate(asked.prompts):
            shown.setdefault((prompt, asked.seed), {})[sheet.step] = sheet, number
    steps = list(dict.fromkeys(sheet.step for sheet, _ in known))
    prompts = dict.fromkeys([*first, *(prompt for prompt, _ in shown)])
    return steps, [
        Row(prompt, seed, [cells.get(step) for step in steps])
        for prompt in prompts
        for (one, seed), cells in shown.items()
        if one == prompt
    ]


def run_file(workspace: Path, run_id: str, path: str) -> Path:
    """A sheet, or what sheets were drawn for, on this machine; one that had to be fetched is kept for the next look.

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


def _kept(workspace: Path, run_id: str, digest: str, seed: int | None) -> Asked | None:
    """What a run kept under a digest, with `seed` where that names none; None where it is not there any more."""
    try:
        value = read_json(run_file(workspace, run_id, asked_file(digest)))
        return Asked(tuple(map(str, value["prompts"])), int(value["seed"]) if "seed" in value else seed)
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
