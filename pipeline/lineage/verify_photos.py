"""The photos of a record against DVC's objects: bytes, masks, captions, and the manifest made from them."""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from pipeline.files import digest_value
from pipeline.lineage.dvc_objects import Objects
from pipeline.lineage.links import Evidence, Link, same
from pipeline.photos.captions import Captions, read_captions, spell_token
from pipeline.photos.file_kinds import sort_files
from pipeline.photos.masks import mask_owners
from pipeline.photos.text import TextProblem, clean_text


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
    token = lineage["params"]["subject"]["token"]
    captions = _captions(objects, listing, token)
    for photo in photos["files"]:
        yield from _photo(photo, objects, listing, captions, token)


def _photo(
    photo: dict[str, Any], objects: Objects, listing: dict[str, str], captions: Captions | str | None, token: str
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
    elif photo["source"] not in captions.found and captions.problems:
        yield Link(name, "unknown", f"its caption cannot be read: {captions.problems[0]}")
    elif (caption := _caption_of(photo["source"], captions)) != spell_token(_plain(photo["caption"]), token):
        yield same(name, photo["caption"], caption, "caption")
    else:
        yield Link(name, "verified", f"sha256 {found[:16]}, caption the same")
    if photo.get("mask_sha256"):
        mask = _mask_of(photo, objects, listing, content)
        if isinstance(mask, bytes):
            yield same(name, photo["mask_sha256"], hashlib.sha256(mask).hexdigest(), "sha256 of its mask")
        else:
            yield Link(
                name,
                "broken" if isinstance(mask, str) else "unknown",
                mask or "its mask is neither in DVC's cache nor in its remote",
            )


class _Unreadable(Exception):
    """A file of the tracked folder that DVC does not have, or has damaged."""

    def __init__(self, sentence: str | None):
        super().__init__(sentence)
        self.sentence = sentence


def _captions(objects: Objects, listing: dict[str, str], token: str) -> Captions | str | None:
    """Captions by photo from the tracked folder; a sentence where they are damaged, None where they are missing."""

    def read(name: str) -> bytes:
        content = objects.read(listing[name])
        if not isinstance(content, bytes):
            raise _Unreadable(content)
        return content

    try:
        return read_captions(sort_files(listing), read, token)
    except _Unreadable as error:
        return error.sentence


def _caption_of(source: str, captions: Captions) -> str | None:
    return captions.found[source].text if source in captions.found else None


def _plain(caption: str) -> str:
    """A recorded caption as it is read today; records of older versions may hold what is refused now."""
    try:
        return clean_text(caption)
    except TextProblem:
        return caption.strip()


def _mask_of(photo: dict[str, Any], objects: Objects, listing: dict[str, str], content: bytes) -> bytes | str | None:
    """The bytes of a photo's mask file, of the photo itself where its alpha channel is the mask."""
    owners = mask_owners(sort_files(listing))
    files = [file for file, photos in owners.items() if photos == [photo["source"]]]
    return objects.read(listing[files[0]]) if files else content


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
