"""Every link of a record, recomputed: the record itself, the weights, photos, code, base, and the registry's tags."""

import json
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

from pipeline.base.resolve import resolve_base
from pipeline.errors import UserError
from pipeline.files import digest_file, digest_value
from pipeline.lineage.code import CodeUnknown, tree_at
from pipeline.lineage.digests import content_digest, tracked_md5
from pipeline.lineage.header import read_header
from pipeline.lineage.links import Evidence, Link, same
from pipeline.lineage.read import LineageError, read_lineage
from pipeline.lineage.tags import version_tags
from pipeline.lineage.verify_photos import photo_links, prepared_links
from pipeline.params import parse_params


def verify(lineage: dict[str, Any], evidence: Evidence) -> list[Link]:
    """All links, in the order of the chain. A link that cannot be checked here is unknown, never verified."""
    checks: list[Callable[[dict[str, Any], Evidence], Iterable[Link]]] = [
        _record, _tags, _files, _weights, _params, _base, photo_links, prepared_links, _code,
    ]  # fmt: skip
    return [link for check in checks for link in check(lineage, evidence)]


def _record(lineage: dict[str, Any], evidence: Evidence) -> Iterable[Link]:
    """The record against its digest in the tags, in the header of the weights, and its second copy."""
    digest = digest_value(lineage)
    witnesses = []
    if evidence.tags is not None:
        witnesses.append(("the version's tag", evidence.tags.get("record_digest")))
    if evidence.header is not None:
        witnesses.append(("the file's own header", evidence.header.get("record_digest")))
    if evidence.model is not None:
        for path in sorted(evidence.model.glob("*/*.safetensors")):
            try:
                witnesses.append(
                    (f"the header of {path.parent.name}/{path.name}", read_header(path).get("record_digest"))
                )
            except LineageError as error:
                yield Link("record", "broken", str(error))
        try:
            witnesses.append(("the copy beside the weights", digest_value(read_lineage(evidence.model))))
        except LineageError as error:
            yield Link("record", "broken", str(error))
    for name, found in witnesses:
        yield same("record", digest, found, f"digest of the record, in {name},")
    if not witnesses:
        yield Link("record", "unknown", "nothing here vouches for the record: neither weights nor a registered version")


def _tags(lineage: dict[str, Any], evidence: Evidence) -> Iterable[Link]:
    if evidence.tags is None:
        return
    expected = version_tags(lineage)
    for name, value in expected.items():
        if evidence.tags.get(name) != value:
            yield same("tags", value, evidence.tags.get(name), f"tag {name}")
    if all(evidence.tags.get(name) == value for name, value in expected.items()):
        yield Link("tags", "verified", f"{len(expected)} tags of the version agree with the record")


def _files(lineage: dict[str, Any], evidence: Evidence) -> Iterable[Link]:
    """The files of the run's record against the digests that the version's tag keeps."""
    if evidence.tags is None or evidence.files is None:
        return
    try:
        expected = dict(json.loads(evidence.tags["record_files"]))
    except (KeyError, ValueError, TypeError):
        yield Link("record files", "broken", "the version has no readable tag record_files")
        return
    for name, digest in sorted(expected.items()):
        path = evidence.files / name
        if not path.is_file():
            yield Link("record files", "broken", f"{name} is missing from the run's artifacts")
        else:
            yield same("record files", digest, digest_file(path), name)
    lock = evidence.files / "dvc.lock"
    if lock.is_file() and lineage["lock"] is not None:
        try:
            stages = (yaml.safe_load(lock.read_text(encoding="utf-8")) or {}).get("stages", {})
        except yaml.YAMLError:
            yield Link("record files", "broken", "dvc.lock is not YAML")
            return
        for name, entry in lineage["lock"].items():
            if stages.get(name) != entry:
                yield Link(
                    "record files", "broken", f"dvc.lock tells another story of the stage {name} than the record"
                )


def _weights(lineage: dict[str, Any], evidence: Evidence) -> Iterable[Link]:
    recorded = lineage["weights"]["content_digest"]
    if evidence.header is not None:
        yield same("weights", recorded, evidence.header.get("content_digest"), "content digest in the file")
    if evidence.model is None:
        yield Link("weights", "unknown", "the weights are not to be had here")
        return
    try:
        yield same("weights", recorded, content_digest(evidence.model), "content digest")
    except (ValueError, OSError) as error:
        yield Link("weights", "broken", f"the weights cannot be read: {error}")


def _params(lineage: dict[str, Any], evidence: Evidence) -> Iterable[Link]:
    yield same("parameters", lineage["params_digest"], digest_value(lineage["params"]), "digest")


def _base(lineage: dict[str, Any], evidence: Evidence) -> Iterable[Link]:
    try:
        base = resolve_base(parse_params(lineage["params"], "the record").base)
    except UserError as error:
        yield Link("base model", "unknown", str(error).splitlines()[0])
        return
    yield same("base model", lineage["base"]["digest"], base.digest, f"digest of {base.model}")


def _code(lineage: dict[str, Any], evidence: Evidence) -> Iterable[Link]:
    code = lineage["code"]
    if code["commit"] is None:
        yield Link("code", "unknown", code.get("unknown", "the record names no commit"))
        return
    if code["clean"] is None:
        why = code.get("unknown", "git could not tell when it was trained")
        yield Link("code", "unknown", f"the record does not say whether there were uncommitted changes: {why}")
        return
    if code.get("left_out"):
        yield Link("code", "unknown", f"too large for the record, so not kept: {', '.join(code['left_out'])}")
    if code["patch"] is not None or code["patch_sha256"] is not None:
        yield same("code", code["patch_sha256"], digest_value(code["patch"]), "digest of the patch")
    with tempfile.TemporaryDirectory() as folder:
        try:
            tree_at(evidence.workspace, code["commit"], code["patch"], Path(folder))
        except CodeUnknown as error:
            yield Link("code", "broken" if error.certain else "unknown", str(error))
            return
        applied = ", the patch applies" if code["patch"] else ""
        yield Link("code", "verified", f"commit {code['commit'][:12]} is here{applied}")
        recorded = lineage["photos"]["tracked_md5"]
        if recorded is not None:
            found = tracked_md5(Path(folder) / "data.dvc")
            yield same("code", recorded, found, "photos in data.dvc of that commit")
