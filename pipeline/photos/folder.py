"""What lies in a folder of photos: pictures, caption files, and clutter that is passed over."""

import os
from dataclasses import dataclass
from pathlib import Path

from pipeline.photos.problems import PhotosError, Problems

METADATA = "metadata.jsonl"
CLUTTER = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir"}


@dataclass(frozen=True)
class Listing:
    """Names relative to the folder, with forward slashes, in sorted order.

    `pictures` are all files that ought to be photos, `texts` the caption files beside photos.
    """

    pictures: tuple[str, ...]
    texts: tuple[str, ...]
    has_metadata: bool


def list_folder(folder: Path, problems: Problems) -> Listing:
    """Look through a folder and its sub-folders; hidden files and known clutter are passed over.

    Raises:
        PhotosError: there is no such folder.
    """
    if not folder.is_dir():
        raise PhotosError(
            f"{folder} is not a folder: put the photos there with a {METADATA}, "
            "or run `dvc pull` if data.dvc tracks them"
        )
    names = _files(folder, problems)
    has_metadata = METADATA in names
    texts = {name for name in names if name.lower().endswith(".txt")}
    pictures = [name for name in names if name not in texts and name != METADATA]
    if has_metadata:
        # Captions come from the metadata then: a .txt that belongs to no photo is a stray file like any other.
        beside = {caption_file(name) for name in pictures}
        pictures += sorted(texts - beside)
        texts = set()
    if not pictures:
        problems.add("", "there are no photos in it: put JPEG, PNG, WebP or HEIC files there")
    return Listing(tuple(sorted(pictures)), tuple(sorted(texts)), has_metadata)


def caption_file(picture: str) -> str:
    """The name of the caption file that belongs to a photo: the same name, ending in .txt."""
    return os.path.splitext(picture)[0] + ".txt"


def _files(folder: Path, problems: Problems) -> list[str]:
    names = []
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not _clutter(name))
        for name in folders:
            if (Path(where) / name).is_symlink():
                linked = (Path(where) / name).relative_to(folder).as_posix()
                problems.add(linked, "is a link to another folder; copy the photos here instead")
        for name in files:
            if _clutter(name):
                continue
            path = Path(where) / name
            relative = path.relative_to(folder).as_posix()
            # Links to files are fine (DVC's cache may be linked into place); pipes and broken links are not.
            if path.is_file():
                names.append(relative)
            else:
                problems.add(relative, "is not a regular file (a broken link, a pipe?); remove it")
    return sorted(names)


def _clutter(name: str) -> bool:
    return name.startswith(".") or name.lower() in CLUTTER
