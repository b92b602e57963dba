"""The photos of a record and the class images against DVC's objects: bytes, masks, captions, and the lists of them."""

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from pipeline.errors import counted
from pipeline.files import digest_value
from pipeline.lineage.dvc_objects import Copies, Objects
from pipeline.lineage.dvc_stages import lock_problem
from pipeline.lineage.links import Evidence, Link, same
from pipeline.photos.captions import Captions, read_captions, spell_token
from pipeline.photos.file_kinds import sort_files
from pipeline.photos.masks import mask_owners
from pipeline.photos.text import TextProblem, clean_text


def photo_links(lineage: dict[str, Any], evidence: Evidence) -> Iterable[Link]:
    """Each photo's bytes, mask and caption, in DVC's cache and in its remote."""
    photos = lineage["photos"]
    yield same("photos", photos["manifest_digest"], digest_value(photos["files"]), "digest of the list of photos")
    if photos["dvc_md5"] is None:
        yield Link("photos", "unknown", "the record names no DVC digest")
        return
    if photos["tracked_md5"] != photos["dvc_md5"]:
        yield Link(
            "photos",
            "unknown",
            f"DVC tracked {photos['tracked_md5']}, but the training used {photos['dvc_md5']}: `dvc add data` had not "
            "been run",
        )
    objects = Objects(evidence.workspace)
    folder = objects.folder(photos["dvc_md5"])
    yield from _damage("photos", folder.copies)
    if folder.entries is None:
        if not folder.copies.damaged:
            yield Link("photos", "unknown", f"{photos['dvc_md5']}: {folder.copies.missing}")
        return
    copies = objects.digest_all(folder.entries.values())
    subject = lineage["params"]["subject"]
    token = subject["token"]
    captions = _captions(objects, folder.entries, token, subject["class_noun"])
    for name, md5 in folder.entries.items():
        if name not in {photo["source"] for photo in photos["files"]}:
            yield from _damage(f"file {name}", copies[md5])
    for photo in photos["files"]:
        yield from _photo(photo, folder.entries, copies, captions, token)


def _photo(
    photo: dict[str, Any],
    listing: dict[str, str],
    copies: dict[str, Copies],
    captions: Captions | str,
    token: str,
) -> Iterable[Link]:
    name = f"photo {photo['source']}"
    md5 = listing.get(photo["source"])
    if md5 is None:
        yield Link(name, "broken", "the tracked folder has no such photo")
        return
    if md5 != photo["md5"]:
        yield same(name, photo["md5"], md5, "md5")
    found = copies[md5]
    yield from _damage(name, found)
    if found.sha256 is not None:
        link = same(name, photo["sha256"], found.sha256, "sha256")
        yield replace(link, detail="; ".join((link.detail, *found.silent)))
    elif not found.damaged:
        yield Link(name, "unknown", f"its bytes ({md5}): {found.missing}")
    yield _caption(name, photo, captions, token)
    if photo.get("mask_sha256"):
        yield from _mask(name, photo, listing, copies)


class _Unreadable(Exception):
    """A file of the tracked folder that no store has whole."""


def _captions(objects: Objects, listing: dict[str, str], token: str, class_noun: str) -> Captions | str:
    """Captions by photo, read from the tracked folder as the stage prepare reads them; else why they cannot be."""

    def read(name: str) -> bytes:
        found = objects.read(listing[name])
        if found.content is None:
            raise _Unreadable(f"{name}: {found.missing}")
        return found.content

    try:
        return read_captions(sort_files(listing), read, token, class_noun)
    except _Unreadable as error:
        return str(error)


def _caption(name: str, photo: dict[str, Any], captions: Captions | str, token: str) -> Link:
    if isinstance(captions, str):
        return Link(name, "unknown", f"its caption in {captions}")
    if photo["source"] not in captions.found and captions.problems:
        return Link(name, "unknown", f"its caption cannot be read: {captions.problems[0]}")
    if photo["source"] not in captions.found:
        return Link(name, "broken", "the tracked folder has no caption for it")
    recorded = spell_token(_plain(photo["caption"]), token)
    return same(name, recorded, captions.found[photo["source"]].text, "caption")


def _plain(caption: str) -> str:
    """A recorded caption as it is read today; records of older versions may hold what is refused now."""
    try:
        return clean_text(caption)
    except TextProblem:
        return caption.strip()


def _mask(name: str, photo: dict[str, Any], listing: dict[str, str], copies: dict[str, Copies]) -> Iterable[Link]:
    """The photo's mask file; the photo itself where its alpha channel is the mask."""
    owners = mask_owners(sort_files(listing))
    files = [file for file, photos in owners.items() if photos == [photo["source"]]]
    source = files[0] if files else photo["source"]
    mask = copies[listing[source]]
    if mask.sha256 is not None:
        yield same(name, photo["mask_sha256"], mask.sha256, "sha256 of its mask")
    else:
        yield Link(name, "unknown", f"its mask {source}: {mask.missing}")


def prepared_links(lineage: dict[str, Any], evidence: Evidence) -> Iterable[Link]:
    """The manifest of the prepared photos, as dvc.lock had it when training began, and the pictures in it."""
    name = "prepared photos"
    entry = _locked(name, lineage, "prepare")
    if isinstance(entry, Link):
        yield entry
        return
    data = next((dep.get("md5") for dep in entry.get("deps", []) if dep["path"] == lineage["photos"]["path"]), None)
    yield same(name, lineage["photos"]["dvc_md5"], data, "photos that they were prepared from")
    objects = Objects(evidence.workspace)
    listing, _, links = _output(name, objects, entry, "artifacts/prepared", "manifest.jsonl")
    yield from links
    content = objects.read(listing.get("manifest.jsonl", "")).content
    if content is not None:
        rows = [json.loads(line) for line in content.decode().split("\n") if line]
        yield same(name, lineage["photos"]["manifest_digest"], digest_value(rows), "digest of the manifest")


def _locked(name: str, lineage: dict[str, Any], stage: str) -> dict[str, Any] | Link:
    """What the record's lock says of a stage; else the link that says why it cannot be asked."""
    lock = lineage["lock"] or {}
    if problem := lock_problem(lock):
        return Link(name, "broken", f"the lock in lineage.json: {problem}")
    entry: dict[str, Any] | None = lock.get(stage)
    return Link(name, "unknown", f"the record has no lock of the stage {stage}") if entry is None else entry


def class_image_links(lineage: dict[str, Any], evidence: Evidence) -> Iterable[Link]:
    """The class images against the list that the record has a digest of."""
    name = "class images"
    entry = _locked(name, lineage, "prior")
    if isinstance(entry, Link):
        yield entry
        return
    objects = Objects(evidence.workspace)
    listing, copies, links = _output(name, objects, entry, "artifacts/prior", "prior.json")
    yield from links
    content = objects.read(listing.get("prior.json", "")).content
    if content is None:
        return
    index = json.loads(content)
    images = [*index["images"], *index.get("places", [])]  # those of older versions have none
    yield same(name, lineage["prior"]["digest"], digest_value(images), "digest of the list of class images")
    absent, good = 0, 0
    for image in images:
        found = copies.get(listing.get(image["file"], ""))
        if found is None:
            absent += 1
        elif found.sha256 == image["sha256"]:
            good += 1
        elif found.sha256 is not None:
            yield Link(name, "broken", f"{image['file']} is not the picture on record")
    if absent:
        yield Link(
            name, "broken", f"the list of artifacts/prior lacks {absent} of {counted(len(images), 'picture')} on record"
        )
    elif good == len(images):
        yield Link(name, "verified", f"{counted(len(images), 'picture')} that the base drew, with the recorded sha256")


def _output(
    name: str, objects: Objects, entry: dict[str, Any], path: str, index: str
) -> tuple[dict[str, str], dict[str, Copies], list[Link]]:
    """The files of a stage's output folder, their copies, and what is wrong with them, or unknown where no store has
    them; `index` must be there.
    """
    md5 = next((str(out.get("md5", "")) for out in entry.get("outs", []) if out["path"] == path), "")
    folder = objects.folder(md5)
    links = list(_damage(name, folder.copies))
    if folder.entries is None:
        return {}, {}, links or [Link(name, "unknown", f"{path} ({md5 or 'no digest'}): {folder.copies.missing}")]
    copies = objects.digest_all(folder.entries.values())
    for file, digest in folder.entries.items():
        links += [Link(name, "broken", f"{file}: {link.detail}") for link in _damage(name, copies[digest])]
    found = copies.get(folder.entries.get(index, ""))
    if found is None or (found.sha256 is None and not found.damaged):
        why = found.missing if found else f"{path} has none"
        links.append(Link(name, "unknown", f"{index} of {md5}: {why}"))
    others = {file: copies[digest] for file, digest in folder.entries.items() if file != index}
    if lost := [found for found in others.values() if found.sha256 is None and not found.damaged]:
        text = f"{len(lost)} of {counted(len(others), 'file')} beside {index}: {lost[0].missing}"
        links.append(Link(name, "unknown", text))
    return folder.entries, copies, links


def _damage(name: str, copies: Copies) -> Iterable[Link]:
    return [Link(name, "broken", sentence) for sentence in copies.damaged]
