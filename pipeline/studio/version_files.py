"""What the registry keeps of a version, as the pages show it: its evaluation, its prompts, its pictures."""

import re
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import as_found
from pipeline.evaluation.recorded_noise import recorded_noise
from pipeline.files import digest_value, remove_folder, whole_folder
from pipeline.layout import REPORT_GRID, STATE
from pipeline.registry.artifacts import ArtifactsAway
from pipeline.registry.found import Found, Stored
from pipeline.registry.lookup import REFERENCE, UnknownVersion, find_record, recorded_evaluation

KEPT = STATE / "studio" / "reports"  # of versions whose files are not on this machine
PICTURE = re.compile(r"^(tuned|base)/[A-Za-z0-9_-]+-\d+\.png$")
CONTENT = re.compile(r"^[0-9a-f]{64}$")
SEEN_S = 60.0  # how long the pictures of a page go by what the page read
MOST_SEEN = 20


@dataclass(frozen=True)
class VersionFiles:
    """A version's evaluation (None: it was not judged), the text of each prompt, its report's folder, the photos and
    parameters of its record, its tags and its run; `twins`, what the base was asked for instead of each prompt, `base`,
    the digest of the base's content, and `without_report`, why there is no report ('' where there is one).
    """

    evaluation: dict[str, Any] | None
    prompts: dict[str, str]
    report: Path | None
    photos: list[dict[str, Any]]
    params: dict[str, Any]
    tags: dict[str, str]
    run_id: str
    twins: dict[str, str] = field(default_factory=dict)
    base: str = ""
    without_report: str = ""

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

    def noises(self, kind: str = "tuned") -> dict[tuple[str, int], int]:
        """The seed that draws each picture of the tuned model, or of the base, again, by its prompt and its seed in the
        suite, in the order of the suite; older versions drew with the suite's seeds themselves.
        """
        rows = self.evaluation["pictures"] if self.evaluation else []
        drawn = [row for row in rows if row["model"] == kind]
        return {(row["prompt_id"], row["seed"]): recorded_noise(row) for row in drawn}


_SEEN: dict[tuple[Path, str], tuple[float, VersionFiles]] = {}


def version_files(workspace: Path, reference: str) -> VersionFiles:
    """What the registry keeps of `models:/NAME/VERSION`; a report that had to be fetched is kept for the next look.

    Raises:
        UnknownVersion: there is no such version, it has no record, or its evaluation is damaged.
    """
    if not REFERENCE.match(reference):  # it would be taken for a path
        raise UnknownVersion(f"{as_found(reference)} names no registered version")
    with find_record(workspace, reference) as found:
        lineage = found.lineage
        evaluation, tags = recorded_evaluation(found), dict(found.tags or {})
        run_id = str(found.facts.get("MLflow run") or "")
        judged = digest_value([tags.get("record_files", ""), evaluation])  # another one after a new judgement
        content = str(lineage["weights"]["content_digest"])
        report, why = kept_report(workspace, reference, content, judged, found.stored)
        without = "" if report is not None else _without(found, evaluation, why)
    asked = ((evaluation or {}).get("suite") or {}).get("prompts") or ()
    made = VersionFiles(
        evaluation=evaluation,
        prompts={prompt["id"]: prompt["text"] for prompt in asked},
        report=report,
        photos=lineage["photos"]["files"],
        params=lineage["params"],
        tags=tags,
        run_id=run_id,
        twins={prompt["id"]: prompt["twin"] for prompt in asked if "twin" in prompt},
        base=str(lineage["base"].get("digest", "")),
        without_report=without,
    )
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


def kept_report(
    workspace: Path, reference: str, content: str, judged: str, stored: Stored | None
) -> tuple[Path | None, str]:
    """The folder of a version's report; one that has to be fetched is kept, and those of the version's earlier
    judgements go. Other versions may have the same weights: each keeps a report of its own.

    Args:
        reference: `models:/NAME/VERSION`.
        content: digest of the weights.
        judged: digest of what was measured of them, which another report belongs to after a new judgement.

    Returns:
        The folder, or None and why there is none: '' where the registry was asked and keeps none.
    """
    if not CONTENT.match(content) or not CONTENT.match(judged):
        return None, "its record names no digest of its weights"
    version, newest = digest_value(reference)[:16], digest_value([content, judged])[:16]
    kept = workspace / KEPT / f"{version}-{newest}"
    if kept.is_dir():
        return kept, ""
    try:
        report = stored.report() if stored is not None else None
    except ArtifactsAway as error:
        return None, str(error)
    if report is None or not (report / REPORT_GRID.name).is_file():
        return None, "" if report is None else f"its report is incomplete: {REPORT_GRID.name} is not in it"
    if report.is_relative_to(workspace):  # on this machine: read where it is
        return report, ""
    with whole_folder(kept) as fresh:
        shutil.copytree(report, fresh, dirs_exist_ok=True)
    # Beside this version's own, what older studios kept by the weights alone, which nobody reads any more.
    for path in (*kept.parent.glob(f"{version}-*"), *kept.parent.glob(f"{content}*")):
        if path != kept:
            remove_folder(path)
    return kept, ""


def _without(found: Found, evaluation: dict[str, Any] | None, why: str) -> str:
    """Why a version has no report, as a sentence."""
    if why:
        return f"the pictures of {found.title} cannot be shown: {why}"
    if found.files is None:
        return f"{found.title} has no pictures here: its run {found.facts.get('its run', 'keeps no record')}"
    if evaluation is None:
        return f"{found.title} was not judged, so it has no pictures"
    return f"the pictures of {found.title} cannot be shown: the registry keeps no report of it"
