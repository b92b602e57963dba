"""What the registry keeps of a version, as the pages show it: its evaluation, its prompts, its pictures."""

import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.evaluation.recorded_noise import recorded_noise
from pipeline.files import digest_value, remove_folder, whole_folder
from pipeline.layout import REPORT_GRID, STATE
from pipeline.registry.artifacts import ArtifactsAway
from pipeline.registry.found import Stored
from pipeline.registry.lookup import find_record, recorded_evaluation

KEPT = STATE / "studio" / "reports"  # of versions whose files are not on this machine
PICTURE = re.compile(r"^(tuned|base)/[A-Za-z0-9_-]+-\d+\.png$")
CONTENT = re.compile(r"^[0-9a-f]{64}$")
SEEN_S = 60.0  # how long the pictures of a page go by what the page read
MOST_SEEN = 20


@dataclass(frozen=True)
class VersionFiles:
    """A version's evaluation (None: it was not judged), the text of each prompt, its report's folder, the photos and
    parameters of its record, its tags and its run.
    """

    evaluation: dict[str, Any] | None
    prompts: dict[str, str]
    report: Path | None
    photos: list[dict[str, Any]]
    params: dict[str, Any]
    tags: dict[str, str]
    run_id: str

    def row(self, kind: str, prompt: str, seed: int) -> dict[str, Any] | None:
        """What the evaluation says of one picture of the tuned model, or of the base."""
        rows = self.evaluation["pictures"] if self.evaluation else []
        place = (kind, prompt, seed)
        return next((row for row in rows if (row["model"], row["prompt_id"], row["seed"]) == place), None)

    def photo(self, name: str) -> Path | None:
        """One of its photos, as it was prepared, by the name of its file."""
        known = {Path(str(photo["file"])).name for photo in self.photos}
        file = self.report / "photos" / name if self.report is not None and name in known else None
        return file if file is not None and file.is_file() else None

    def noises(self) -> dict[tuple[str, int], int]:
        """The seed that draws each picture of the tuned model again, by its prompt and its seed in the suite, in the
        order of the suite; older versions drew with the suite's seeds themselves.
        """
        rows = self.evaluation["pictures"] if self.evaluation else []
        tuned = [row for row in rows if row["model"] == "tuned"]
        return {(row["prompt_id"], row["seed"]): recorded_noise(row) for row in tuned}


_SEEN: dict[tuple[Path, str], tuple[float, VersionFiles]] = {}


def version_files(workspace: Path, reference: str) -> VersionFiles:
    """What the registry keeps of `models:/NAME/VERSION`; a report that had to be fetched is kept for the next look.

    Raises:
        UnknownVersion: there is no such version, it has no record, or its evaluation is damaged.
    """
    with find_record(workspace, reference) as found:
        lineage = found.lineage
        evaluation, tags = recorded_evaluation(found), dict(found.tags or {})
        run_id = str(found.facts.get("MLflow run") or "")
        judged = digest_value([tags.get("record_files", ""), evaluation])  # another one after a new judgement
        report = kept_report(workspace, found.lineage["weights"]["content_digest"], judged, found.stored)
    prompts = {prompt["id"]: prompt["text"] for prompt in ((evaluation or {}).get("suite") or {}).get("prompts") or ()}
    made = VersionFiles(evaluation, prompts, report, lineage["photos"]["files"], lineage["params"], tags, run_id)
    _SEEN[workspace, reference] = (time.monotonic(), made)
    while len(_SEEN) > MOST_SEEN:
        _SEEN.pop(next(iter(_SEEN)), None)
    return made


def seen_version(workspace: Path, reference: str) -> VersionFiles:
    """The same as a page has just read it: the pictures of a page are many, and reading a record takes its time.

    Raises:
        UnknownVersion: as `version_files` does.
    """
    at, found = _SEEN.get((workspace, reference), (0.0, None))
    return found if found is not None and time.monotonic() - at < SEEN_S else version_files(workspace, reference)


def kept_report(workspace: Path, content: str, judged: str, stored: Stored | None) -> Path | None:
    """The folder of a version's report; one that has to be fetched is kept, and those of earlier judgements go.

    Args:
        content: digest of the weights.
        judged: digest of what was measured of them, which another report belongs to after a new judgement.
    """
    if not CONTENT.match(content) or not CONTENT.match(judged):
        return None
    kept = workspace / KEPT / f"{content}-{judged[:16]}"
    if kept.is_dir():
        return kept
    try:
        report = stored.report() if stored is not None else None
    except ArtifactsAway:
        report = None
    if report is None or not (report / REPORT_GRID.name).is_file():
        return None
    if report.is_relative_to(workspace):  # on this machine: read where it is
        return report
    with whole_folder(kept) as fresh:
        shutil.copytree(report, fresh, dirs_exist_ok=True)
    for path in kept.parent.glob(f"{content}*"):
        if path != kept:
            remove_folder(path)
    return kept
