"""The files of a record: model folder, artifacts of the run, what MLflow serves, and the file that was asked about."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import UserError, counted, first_line
from pipeline.files import digest_file, read_json
from pipeline.layout import DVC_LOCK, EVALUATION, PARAMS
from pipeline.lineage.dvc_stages import NoStages, lock_problem, locked_stages
from pipeline.lineage.links import Evidence, Link, compare_files, same
from pipeline.lineage.model_files import TENSORS, file_digest, model_files, tensors_digest
from pipeline.lineage.tags import WITHDRAWN, verdict_tags
from pipeline.params import dump_params, parse_recorded
from pipeline.yaml_files import YamlError

WEIGHTS_IN_SERVED = "artifacts"  # MLflow's folder holds the model folder below this name
WRITTEN_BY_MLFLOW = "registered_model_meta"  # MLflow writes it into a folder from which it loads a version
PICTURES = (".png", ".jpg", ".jpeg", ".webp")
REPORT_FILES = "report_files.json"  # digests of the report's files, part of the record
NO_RECORD = "the record in its run is gone or could not be read, so there is nothing to compare"
# Parameters that decide the weights; the others may be changed for a new evaluation of the same weights.
DECIDING = ("subject", "base", "prepare", "prior", "train")


def model_links(lineage: dict[str, Any], evidence: Evidence) -> Iterable[Link]:
    """Every file of the model folder: configurations, tokenizer, scheduler, weights, adapters, embeddings."""
    recorded = lineage.get("files")
    if evidence.model is None:
        return
    if recorded is None:
        yield Link("model files", "unknown", "the record is of an older version, which kept no digests of these files")
        return
    try:
        yield from compare_files("model files", recorded, model_files(evidence.model), "the model folder")
    except (ValueError, OSError) as error:
        yield Link("model files", "broken", str(error))


def own_file_link(lineage: dict[str, Any], evidence: Evidence) -> Iterable[Link]:
    """The bytes of the one safetensors file that was asked about, whatever its header says."""
    if evidence.file is None:
        return
    name, recorded = f"file {evidence.file.name}", lineage.get("files")
    try:
        found = tensors_digest(evidence.file)
    except (ValueError, OSError) as error:
        yield Link(name, "broken", str(error))
        return
    if recorded is None:
        known = {path.name: tensors_digest(path) for path in sorted((evidence.model or Path()).glob(f"*/*{TENSORS}"))}
        recorded = known if evidence.model is not None else {}
        if not recorded:
            yield Link(name, "unknown", "the record is of an older version, which kept no digest of this file")
            return
    matching = [path for path, digest in recorded.items() if digest == found and path.endswith(TENSORS)]
    if matching:
        yield Link(name, "verified", f"its tensors are those of {matching[0]}")
    else:
        yield _unmatched(name, evidence.header or {})


def _unmatched(name: str, header: dict[str, Any]) -> Link:
    """A file whose tensors are in no file of the record: an export says so of itself, and proves nothing by it."""
    if exported := header.get("exported"):
        text = f"an export ({exported}): its tensors were renamed or converted, so no digest of the record is theirs"
        return Link(name, "unknown", text)
    return Link(
        name, "broken", "its tensors are in no file of the record: the header was copied or the file was changed"
    )


def record_file_links(lineage: dict[str, Any], evidence: Evidence) -> Iterable[Link]:
    """The files of the run's record against the digests in the version's tag, and against the record."""
    if evidence.tags is None:
        return
    name = "record files"
    if evidence.files is None:
        yield Link(name, "unknown", NO_RECORD)
        return
    try:
        expected = {str(key): str(value) for key, value in json.loads(evidence.tags["record_files"]).items()}
    except (KeyError, ValueError, AttributeError):
        yield Link(name, "broken", "the version has no readable tag record_files")
        return
    found = {path.name: digest_file(path) for path in evidence.files.iterdir() if path.is_file()}
    yield from compare_files(name, expected, found, "the run's artifacts")
    yield from _lock_links(lineage, evidence.files / DVC_LOCK)
    yield from _params_links(lineage, evidence.files / PARAMS)


def _lock_links(lineage: dict[str, Any], lock: Path) -> Iterable[Link]:
    if not lock.is_file() or lineage["lock"] is None:
        return
    try:
        stages = locked_stages(lock, f"{DVC_LOCK} in the run's artifacts")
    except NoStages as error:
        yield Link("record files", "broken", error.found)
        return
    except YamlError as error:
        yield Link("record files", "broken", first_line(error))
        return
    if problem := lock_problem(lineage["lock"]):
        yield Link("record files", "broken", f"lineage.json: {problem}")
        return
    for stage, entry in lineage["lock"].items():
        if stages.get(stage) != entry:
            yield Link("record files", "broken", f"{DVC_LOCK} and lineage.json disagree about the stage {stage}")


def _params_links(lineage: dict[str, Any], file: Path) -> Iterable[Link]:
    if not file.is_file():
        return
    try:
        written = parse_recorded(yaml.safe_load(file.read_text(encoding="utf-8")), f"{PARAMS} in the run's artifacts")
        recorded = parse_recorded(lineage["params"], "lineage.json")
    except (yaml.YAMLError, UserError, ValueError) as error:
        yield Link("parameters", "unknown", f"{PARAMS} and lineage.json cannot be compared: {first_line(error)}")
        return
    values, expected = dump_params(written), dump_params(recorded)
    for one in (values, expected):
        del one["prior"]["draw"]["batch"]  # decides no picture
    drawn = recorded.class_images or recorded.drawn_places
    for section in DECIDING:
        if values[section] != expected[section] and (section != "prior" or drawn):
            yield Link("parameters", "broken", f"{PARAMS} and lineage.json disagree about '{section}'")


def evaluation_links(lineage: dict[str, Any], evidence: Evidence) -> Iterable[Link]:
    """What the version's tags say of the verdict against evaluation.json, and which model that judged."""
    if evidence.files is None:
        if evidence.tags is not None:
            yield Link("evaluation", "unknown", NO_RECORD)
        return
    file = evidence.files / EVALUATION.name
    if not file.is_file():
        yield Link("evaluation", "unknown", f"{file.name} is missing from the run's artifacts")
        return
    try:
        evaluation = read_json(file)
        expected = verdict_tags(evaluation)
    except (ValueError, KeyError, TypeError) as error:
        yield Link("evaluation", "broken", f"{file.name} cannot be read: {error!r}")
        return
    judged = (evaluation.get("model") or {}).get("content_digest")
    if judged is None:
        yield Link("evaluation", "unknown", f"{file.name} does not say which model it judged")
    else:
        yield same("evaluation", lineage["weights"]["content_digest"], judged, "content digest of the judged model")
    if evidence.tags is None:
        return
    wrong = {tag: value for tag, value in expected.items() if evidence.tags.get(tag) != value}
    for tag, value in wrong.items():
        found = evidence.tags.get(tag)
        yield Link("evaluation", "broken", f"the version's tag {tag} says {found!r}, {file.name} says {value!r}")
    if not wrong:
        yield Link("evaluation", "verified", f"{len(expected)} tags of the version agree with {file.name}")


def report_links(lineage: dict[str, Any], evidence: Evidence) -> Iterable[Link]:
    """The report's files against the list of their digests in the record; a withdrawn version may lack pictures."""
    if evidence.tags is None:
        return
    if evidence.files is None:
        yield Link("report", "unknown", NO_RECORD)
        return
    listed = evidence.files / REPORT_FILES
    if not listed.is_file():
        yield Link("report", "unknown", "the record has no digests of the report's files")
    elif evidence.report is None:
        yield _away("report", "the report", evidence)
    else:
        try:
            recorded = {str(path): str(digest) for path, digest in read_json(listed).items()}
            found = folder_files(evidence.report)
        except (ValueError, AttributeError, OSError) as error:
            yield Link("report", "broken", f"the report or {REPORT_FILES} cannot be read: {error}")
            return
        gone = {path for path in recorded.keys() - found.keys() if path.endswith(PICTURES)}
        if gone and WITHDRAWN in evidence.tags:
            text = f"{counted(len(gone), 'picture')} missing: a photo was withdrawn, so they may have been deleted"
            yield Link("report", "unknown", text)
            recorded = {path: digest for path, digest in recorded.items() if path not in gone}
        yield from compare_files("report", recorded, found, "the report")


def _away(name: str, what: str, evidence: Evidence) -> Link:
    """A part of a version that was not found: unknown where it could not be looked for."""
    if why := evidence.unreadable.get(name):
        return Link(name, "unknown", f"{what} could not be read: {why}")
    return Link(name, "broken", f"{what} is missing from the run's artifacts")


def served_links(lineage: dict[str, Any], evidence: Evidence) -> Iterable[Link]:
    """The code and the settings that MLflow serves the version with, and the LoRA layers in MLflow's own form."""
    if evidence.tags is None:
        return
    if evidence.served is not None:
        served = evidence.served, WEIGHTS_IN_SERVED
        yield from _tagged("served code", evidence.tags, "served_files", served, "MLflow's model folder")
    if "adapter_files" in evidence.tags:  # of older versions; newer ones have them in MLflow's model folder
        if evidence.adapter is None:
            yield _away("adapter", "the folder of LoRA layers in MLflow's form", evidence)
        else:
            yield from _tagged("adapter", evidence.tags, "adapter_files", (evidence.adapter, None), "the adapter")


def _tagged(name: str, tags: dict[str, str], tag: str, folder: tuple[Path, str | None], where: str) -> Iterable[Link]:
    if tag not in tags:
        yield Link(name, "unknown", f"the version has no tag {tag}: it was registered by an older version")
        return
    try:
        expected = {str(key): str(value) for key, value in json.loads(tags[tag]).items()}
    except (ValueError, AttributeError):
        yield Link(name, "broken", f"the version's tag {tag} cannot be read")
        return
    try:
        found = folder_files(*folder)
    except (ValueError, OSError) as error:
        yield Link(name, "broken", f"{where} cannot be read: {error}")
        return
    yield from compare_files(name, expected, found, where)


def folder_files(folder: Path, without: str | None = None) -> dict[str, str]:
    """sha256 by path of every file below a folder, but for the subfolder `without` and what Python compiled."""
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    kept = [
        name
        for name in names
        if name.split("/")[0] not in (without, WRITTEN_BY_MLFLOW) and "__pycache__" not in name.split("/")
    ]
    return {name: file_digest(folder / name) for name in kept}
