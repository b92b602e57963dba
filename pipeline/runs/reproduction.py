"""A model made again from its record, and how it compares with the recorded one."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline.base.resolve import resolve_base
from pipeline.errors import UserError, counted
from pipeline.evaluation.known_interval import figure_words, has_interval
from pipeline.files import read_json
from pipeline.layout import DVC_LOCK, DVC_YAML, EVALUATION, MODEL, SEARCH, TRAINED_MODEL, WORDINGS
from pipeline.lineage.dvc_stages import lock_problem, locked_stages, stage_names
from pipeline.lineage.read import read_lineage
from pipeline.lineage.record import environment
from pipeline.lineage.recorded_base import recorded_base
from pipeline.params import parse_recorded
from pipeline.registry.artifacts import ARTIFACTS
from pipeline.registry.found import Found
from pipeline.registry.lookup import find_record
from pipeline.runs.dvc import reproduce
from pipeline.runs.recorded_workspace import rebuild_workspace
from pipeline.tuning.writer import keep_answer

WEIGHTS = ("inputs", "prepare", "prior", "train", "select")
FIGURES = ("tune", "sample", "evaluate")
Outcome = Literal["identical", "equivalent", "different"]


@dataclass(frozen=True)
class Reproduction:
    """How a model that was made again compares with the recorded one."""

    outcome: Outcome
    sentence: str
    details: list[str] = field(default_factory=list)


class NotConfirmed(UserError):
    """Nobody agreed to run the patch of a record from elsewhere."""


class ReproductionFailed(UserError):
    """A stage of the reproduction failed."""


def reproduce_model(
    workspace: Path, ref: str, into: Path | None, confirm: Callable[[str], bool] = lambda patch: True
) -> Reproduction:
    """Rebuild the workspace of a record, run its stages, and compare what came out; details name the environment, too.

    The recorded patch is code that runs with the user's rights. Where no registered version vouches for the record,
    since it was read from a folder, `confirm` gets the patch first.

    Raises:
        NotConfirmed: `confirm` answered no.
        UserError: the reference, the code, the photos or the base are not available.
        ReproductionFailed: a stage failed; called again, it resumes there.
    """
    with find_record(workspace, ref) as found:
        lineage = found.lineage
        patch = lineage["code"]["patch"]
        if patch and found.tags is None and not confirm(patch):
            raise NotConfirmed("nothing was run, because the recorded patch was not confirmed")
        lock = _recorded_lock(found)
        resolve_base(recorded_base(lineage), recorded=True)
        target = (into or Path("reproduced") / re.sub(r"[^\w.-]+", "-", found.title).strip("-")).resolve()
        rebuild_workspace(workspace, lineage, target)
        print(f"{found.title} is made again in {target}")
        _run(WEIGHTS, target)
        done = compare_weights(lineage, lock, target)
        if done.outcome != "identical":
            keep_wordings(found, target)
            _run(FIGURES, target)
            recorded = found.files / EVALUATION.name if found.files else None
            evaluation = read_json(recorded) if recorded and recorded.is_file() else None
            done = compare_figures(evaluation, read_json(target / EVALUATION), done.details)
    details = [*done.details, *differences(lineage["environment"], environment())]
    details += training_differences(lineage["training"], read_lineage(target / TRAINED_MODEL)["training"])
    return Reproduction(done.outcome, done.sentence, details)


def keep_wordings(found: Found, target: Path) -> None:
    """Make a search propose what the language model of the recorded one did, which would answer in other words now."""
    kept = found.files / SEARCH.name if found.files else None
    written = read_json(kept).get("writer") if kept is not None and kept.is_file() else None
    params = parse_recorded(found.lineage["params"], "the record")
    if written and params.tune.writer is not None:
        keep_answer(params.tune.writer, params.subject.class_noun, str(written["answer"]), target / WORDINGS)


def _known(stages: tuple[str, ...], target: Path) -> tuple[str, ...]:
    """The stages that the dvc.yaml of a rebuilt workspace has: records of older versions know fewer."""
    there = stage_names(target / DVC_YAML)
    return tuple(stage for stage in stages if stage in there)


def compare_weights(lineage: dict[str, Any], lock: dict[str, Any], target: Path) -> Reproduction:
    """The tensors of the new model against the recorded digest; where they differ, the first stage that does."""
    again = read_lineage(target / (MODEL if lineage.get("selection") else TRAINED_MODEL))
    recorded, found = lineage["weights"]["content_digest"], again["weights"]["content_digest"]
    if recorded == found:
        return Reproduction("identical", f"the weights are bit for bit those on record ({found[:16]})")
    details = [f"weights: recorded {recorded[:16]}, now {found[:16]}"]
    for what, key in (("base model", "base"), ("class images", "prior")):
        if lineage[key]["digest"] != again[key]["digest"]:
            details.append(f"{what}: recorded {lineage[key]['digest'][:16]}, now {again[key]['digest'][:16]}")
    settings = [one["base"].get("settings_digest") for one in (lineage, again)]  # older records have none
    if None not in settings and settings[0] != settings[1]:
        details.append("the configurations of the base model's components are not those on record")
    now = locked_stages(target / DVC_LOCK)
    for stage in ("prepare", "prior"):
        if stage in lock and _outs(lock[stage]) != _outs(now.get(stage, {})):
            details.append(f"the stage {stage} has other results than on record")
    return Reproduction("different", "the weights are not those on record", details)


def compare_figures(recorded: dict[str, Any] | None, found: dict[str, Any], details: list[str]) -> Reproduction:
    """Every overall figure of the new model against the recorded interval of it.

    Where no interval is known (`has_interval`), only the same value is the same figure: whether another one could have
    come about by chance nobody can tell, so that it is listed and decides nothing.
    """
    if recorded is None:
        return Reproduction("different", "other weights, and no evaluation is on record to compare with", details)
    if recorded["suite"]["digest"] != found["suite"]["digest"]:
        return Reproduction("different", "other weights, judged on another suite", details)
    again = {(row["metric"], row["model"]): row["value"] for row in found["metrics"] if row["group"] == "all"}
    outside, unknown = [], []
    rows = [row for row in recorded["metrics"] if row["group"] == "all"]
    for row in rows:
        value = again.get((row["metric"], row["model"]))
        now = "not measured" if value is None else f"{value:.4f}"
        line = f"{row['metric']} ({row['model']}): recorded {figure_words(row)}, now {now}"
        if value is not None and not has_interval(row):
            unknown += [line] if value != row["value"] else []
        elif value is None or not row["low"] <= value <= row["high"]:
            outside.append(line)
    details = [*details, *outside, *unknown]
    if outside or not rows:
        return Reproduction(
            "different", f"{len(outside)} of {len(rows)} figures are outside of their intervals", details
        )
    known = len(rows) - len(unknown)
    if not known:
        sentence = "other weights, and no interval is known of any figure on record that could tell whether they differ"
        return Reproduction("different", sentence, details)
    others = f"; of {counted(len(unknown), 'other')} no interval is known" if unknown else ""
    figures = f"all {known} figures with a known interval are" if unknown else f"all {known} figures are"
    sentence = f"other weights, but {figures} within their intervals{others}"
    return Reproduction("equivalent", sentence, details)


def differences(recorded: dict[str, Any], now: dict[str, Any], name: str = "environment") -> list[str]:
    """A line for each value that two environments do not share."""
    lines = []
    for key in sorted(recorded.keys() | now.keys()):
        first, second = recorded.get(key), now.get(key)
        if isinstance(first, dict) and isinstance(second, dict):
            lines += differences(first, second, f"{name}: {key}")
        elif first != second:
            lines.append(f"{name}: {key} was {first}, is {second}")
    return lines


def training_differences(recorded: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """A line where a training began on another device than the recorded one, and where that one was interrupted and
    went on with something else.
    """
    lines = []
    if recorded["device"] != now["device"]:
        lines.append(f"the recorded training began on {recorded['device']}, this one on {now['device']}")
    if others := recorded.get("resumed_with"):
        changes = counted(len(others), "time")
        lines.append(f"the recorded training went on with other code, libraries, hardware or device {changes}")
    return lines


def _run(stages: tuple[str, ...], target: Path) -> None:
    """Runs of a reproduction belong to it alone: they go into a database of its own, with its files beside it."""
    store = {
        "MLFLOW_TRACKING_URI": f"sqlite:///{target / 'mlflow.db'}",
        "MLFLOW_REGISTRY_URI": "",
        "MLFLOW_ARTIFACTS_DESTINATION": "",
        "DREAMTRACE_ARTIFACT_ROOT": (target / ARTIFACTS).as_uri(),
    }
    for stage in _known(stages, target):
        *_, code = reproduce(stage, target, given=store)
        if code:
            raise ReproductionFailed(f"stage {stage} failed in {target}; run the same command again to resume")


def _recorded_lock(found: Found) -> dict[str, Any]:
    lock = found.lineage["lock"] or {}
    if problem := lock_problem(lock):
        raise UserError(f"{found.title}: the lock in its record: {problem}; no training can be compared with it")
    return dict(lock)


def _outs(entry: dict[str, Any]) -> list[tuple[str, str]]:
    return sorted((out["path"], out.get("md5", "")) for out in entry.get("outs", []))
