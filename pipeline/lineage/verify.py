"""Every link of a record, computed again: record, tags, files, weights, parameters, base, photos and code."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pipeline.base.digest import settings_digest
from pipeline.base.learned import learned_files
from pipeline.base.resolve import COMPONENTS, resolve_base
from pipeline.errors import UserError, first_line
from pipeline.files import digest_value, scratch_folder
from pipeline.lineage.code import CodeUnknown, tree_at
from pipeline.lineage.deleted import deletion_of
from pipeline.lineage.digests import content_digest, tracked_md5
from pipeline.lineage.header import read_header, short_record
from pipeline.lineage.links import Evidence, Link, same
from pipeline.lineage.read import LineageError, read_lineage
from pipeline.lineage.recorded_base import recorded_base
from pipeline.lineage.tags import version_tags
from pipeline.lineage.verify_files import (
    evaluation_links,
    model_links,
    own_file_link,
    record_file_links,
    report_links,
    served_links,
)
from pipeline.lineage.verify_photos import class_image_links, photo_links, prepared_links
from pipeline.lineage.verify_recipe import recipe_links


def verify(lineage: dict[str, Any], evidence: Evidence) -> list[Link]:
    """All links, in the order of the chain. A link that cannot be checked here is unknown, never verified.

    Every digest is computed from the bytes themselves; no cache of digests is trusted.
    """
    checks: list[Callable[[dict[str, Any], Evidence], Iterable[Link]]] = [
        own_file_link, _record, _tags, record_file_links, evaluation_links, report_links, _weights, model_links,
        served_links, recipe_links, _params, _base, photo_links, prepared_links, class_image_links, _code,
    ]  # fmt: skip
    return [link for check in checks for link in check(lineage, evidence)]


def _record(lineage: dict[str, Any], evidence: Evidence) -> Iterable[Link]:
    """The record against its digest in the tags, the headers of the weights, and its second copy."""
    digest = digest_value(lineage)
    if evidence.tags is not None:
        yield same("record", digest, evidence.tags.get("record_digest"), "digest of the record, in the version's tag,")
    if evidence.header is not None:
        yield _header("the file's own header", lineage, evidence.header)
    if evidence.model is not None:
        yield from _headers(lineage, evidence.model)
        try:
            copy = digest_value(read_lineage(evidence.model))
            yield same("record", digest, copy, "digest of the record, in the copy beside the weights,")
        except LineageError as error:
            yield Link("record", "broken", str(error))
    if evidence.tags is None and evidence.header is None and evidence.model is None:
        yield Link(
            "record", "unknown", "there is neither weights nor a registered version here to check the record against"
        )


def _headers(lineage: dict[str, Any], model: Path) -> Iterable[Link]:
    """The headers of the files with learned weights; folders of older versions have the record in all weights."""
    try:
        files = learned_files(model)
    except UserError as error:
        yield Link("record", "broken", str(error))
        return
    for path in files:
        try:
            yield _header(f"the header of {path.parent.name}/{path.name}", lineage, read_header(path))
        except (LineageError, OSError) as error:
            yield Link("record", "broken", str(error))


def _header(where: str, lineage: dict[str, Any], found: dict[str, Any]) -> Link:
    """The short record in a header; a picture's says more, and need not say all."""
    short = short_record(lineage)
    if found.get("record_digest") == digest_value(lineage):  # older versions wrote the digest of the whole record
        short["record_digest"] = found["record_digest"]
    if found.get("base") == lineage["base"]:  # older versions wrote a folder's whole path
        short["base"] = found["base"]
    wrong = [key for key in short if key in found and found[key] != short[key]]
    if "record_digest" not in found or "record_digest" in wrong:
        return same("record", short["record_digest"], found.get("record_digest"), f"digest of the record, in {where},")
    if wrong:
        return Link("record", "broken", f"{where} and lineage.json disagree about {', '.join(wrong)}")
    return Link("record", "verified", f"{where} agrees with lineage.json")


def _tags(lineage: dict[str, Any], evidence: Evidence) -> Iterable[Link]:
    if evidence.tags is None:
        return
    expected = version_tags(lineage)
    wrong = [name for name, value in expected.items() if evidence.tags.get(name) != value]
    for name in wrong:
        yield same("tags", expected[name], evidence.tags.get(name), f"tag {name}")
    if not wrong:
        yield Link("tags", "verified", f"{len(expected)} tags of the version agree with the record")


def _weights(lineage: dict[str, Any], evidence: Evidence) -> Iterable[Link]:
    recorded = lineage["weights"]["content_digest"]
    if evidence.model is None:
        deletion = deletion_of(evidence.tags or {})
        why = "the weights are not available here" if deletion is None else str(deletion)
        yield Link("weights", "unknown", why)
        return
    try:
        yield same("weights", recorded, content_digest(evidence.model), "content digest")
    except (ValueError, OSError, UserError) as error:
        yield Link("weights", "broken", f"the weights cannot be read: {error}")


def _params(lineage: dict[str, Any], evidence: Evidence) -> Iterable[Link]:
    yield same("parameters", lineage["params_digest"], digest_value(lineage["params"]), "digest")


def _base(lineage: dict[str, Any], evidence: Evidence) -> Iterable[Link]:
    try:
        base = resolve_base(recorded_base(lineage), read_again=True, recorded=True)
    except UserError as error:
        yield Link("base model", "unknown", str(error).splitlines()[0])
        return
    yield same("base model", lineage["base"]["digest"], base.digest, f"digest of {base.model}")
    if (recorded := lineage["base"].get("settings_digest")) is not None:  # older records have none
        yield same("base model", recorded, _settings(base.folder, recorded), f"digest of {base.model}'s configurations")


def _settings(base: Path, recorded: str) -> str:
    """The digest of a base's configurations; without folders beside its components, which the hub's cache gets when
    somebody downloads more of a repository, where that is the recorded one.
    """
    found = settings_digest(base)
    with scratch_folder() as folder:
        for part in COMPONENTS:
            (Path(folder) / part).symlink_to(base / part)
        return recorded if settings_digest(Path(folder)) == recorded else found


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
    with scratch_folder() as folder:
        try:
            tree_at(evidence.workspace, code["commit"], code["patch"], Path(folder))
        except CodeUnknown as error:
            yield Link("code", "broken" if error.certain else "unknown", str(error))
            return
        applied = ", the patch applies" if code["patch"] else ""
        yield Link("code", "verified", f"commit {code['commit'][:12]} is here{applied}")
        recorded = lineage["photos"]["tracked_md5"]
        if recorded is not None:
            try:
                found = tracked_md5(Path(folder) / "data.dvc")
            except UserError as error:
                yield Link("code", "broken", f"data.dvc of that commit cannot be read: {first_line(error)}")
                return
            yield same("code", recorded, found, "photos in data.dvc of that commit")
