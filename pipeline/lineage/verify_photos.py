"""The photos of a record against DVC's objects: bytes, masks, captions, and the manifest made from them."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipeline.files import digest_value
from pipeline.lineage.dvc_objects import Objects
from pipeline.lineage.links import Evidence, Link, same


def photo_links(lineage: dict[str, Any], evidence: Evidence) -> Iterable[Link]:
    """Each photo's bytes, mask and caption, from DVC's cache or remote."""
    photos = lineage["photos"]
    yield same("photos", photos["manifest_digest"], digest_value(photos["files"]), "digest of the list of photos")
    if photos["dvc_md5"] is None:
        yield Link("photos", "unknown", "the record names no DVC digest")
        return
    if photos["tracked_md5"] != photos["dvc_md5"]:
        yield Link("photos", "unknown", f"DVC tracked {photos['tracked_md5']}, trained was on {photos['dvc_md5']}")
    objects = Objects(evidence.workspace)
    listing = objects.folder(photos["dvc_md5"])
    if listing is None:
        yield Link("photos", "unknown", f"{photos['dvc_md5']} is neither in DVC's cache nor in its remote")
        return
    if isinstance(listing, str):
        yield Link("photos", "broken", listing)
        return
    captions = _captions(objects, listing)
    for photo in photos["files"]:
        yield from _photo(photo, objects, listing, captions)


def _photo(
    photo: dict[str, Any], objects: Objects, listing: dict[str, str], captions: dict[str, str] | str | None
) -> Iterable[Link]:
    name = f"photo {photo['source']}"
    md5 = listing.get(photo["source"])
    if md5 is None:
        yield Link(name, "broken", "the tracked folder has no such photo")
        return
    content = objects.read(md5)
    if content is None:
        yield Link(name, "unknown", f"its bytes ({md5}) are neither in DVC's cache nor in its remote")
        return
    if isinstance(content, str):
        yield Link(name, "broken", content)
        return
    found = hashlib.sha256(content).hexdigest()
    if found != photo["sha256"] or md5 != photo["md5"]:
        yield same(name, photo["sha256"], found, "sha256")
        return
    if isinstance(captions, str):
        yield Link(name, "broken", captions)
    elif captions is None:
        yield Link(name, "unknown", "the captions are neither in DVC's cache nor in its remote")
    elif captions.get(photo["source"], "").strip() != photo["caption"].strip():
        yield same(name, photo["caption"], captions.get(photo["source"]), "caption")
    else:
        yield Link(name, "verified", f"sha256 {found[:16]}, caption the same")
    if photo.get("mask_sha256"):
        stem = Path(photo["source"]).stem
        mask = objects.read(listing.get(f"masks/{stem}.png", ""))
        if isinstance(mask, bytes):
            yield same(name, photo["mask_sha256"], hashlib.sha256(mask).hexdigest(), "sha256 of its mask")
        else:
            yield Link(name, "broken" if isinstance(mask, str) else "unknown", mask or "its mask is not to be had")


def _captions(objects: Objects, listing: dict[str, str]) -> dict[str, str] | str | None:
    """Captions by photo from the tracked folder; a sentence where they are damaged, None where not to be had."""
    if "metadata.jsonl" in listing:
        content = objects.read(listing["metadata.jsonl"])
        if not isinstance(content, bytes):
            return content
        rows = [json.loads(line) for line in content.decode("utf-8", "replace").split("\n") if line.strip()]
        return {row["file_name"]: row["text"] for row in rows}
    found = {}
    for name in listing:
        beside = f"{Path(name).with_suffix('')}.txt"
        if beside in listing and name != beside:
            content = objects.read(listing[beside])
            if not isinstance(content, bytes):
                return content
            found[name] = content.decode("utf-8", "replace")
    return found


def prepared_links(lineage: dict[str, Any], evidence: Evidence) -> Iterable[Link]:
    """The manifest of the prepared photos, as dvc.lock had it when training began."""
    entry = (lineage["lock"] or {}).get("prepare")
    if entry is None:
        yield Link("prepared photos", "unknown", "the record has no lock of the stage prepare")
        return
    data = next((dep["md5"] for dep in entry.get("deps", []) if dep["path"] == lineage["photos"]["path"]), None)
    yield same("prepared photos", lineage["photos"]["dvc_md5"], data, "photos that they were prepared from")
    md5 = next((out["md5"] for out in entry.get("outs", []) if out["path"] == "artifacts/prepared"), None)
    objects = Objects(evidence.workspace)
    listing = objects.folder(md5) if md5 else None
    manifest = objects.read(listing.get("manifest.jsonl", "")) if isinstance(listing, dict) else listing
    if manifest is None:
        yield Link("prepared photos", "unknown", f"the manifest of {md5} is neither in DVC's cache nor in its remote")
    elif isinstance(manifest, str):
        yield Link("prepared photos", "broken", manifest)
    else:
        rows = [json.loads(line) for line in manifest.decode().split("\n") if line]
        yield same(
            "prepared photos", lineage["photos"]["manifest_digest"], digest_value(rows), "digest of the manifest"
        )
