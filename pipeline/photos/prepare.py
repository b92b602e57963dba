"""From a folder of photos and captions to pictures of the base's size and a manifest, or to a list of problems."""

import re
from collections.abc import Callable
from pathlib import Path

from pipeline.errors import UserError, all_problems
from pipeline.files import whole_folder
from pipeline.params import Prepare, Subject
from pipeline.photos.caption_length import TextEncoder
from pipeline.photos.examine import Reading, examine_photos
from pipeline.photos.manifest import Photo, write_manifest

LONGEST_NAME = 80  # letters of a prepared file's name


class PhotosError(UserError):
    """Photos or captions cannot be used; the message lists every problem, by file, and what to do."""


def prepare_photos(
    source: Path,
    out: Path,
    params: Prepare,
    subject: Subject,
    size: int,
    multiple: int = 8,
    encoder: TextEncoder | None = None,
    tell: Callable[[str], None] = print,
) -> list[Photo]:
    """Read, check, split, crop and resize the photos in `source`; write `out/images/*.png`, `out/masks/*.png` and
    `out/manifest.jsonl`.

    The same photos, captions and parameters give the same bytes. `out` is replaced as a whole once all is well, and
    left as it was when anything is refused. `size` is the side of the square pictures in pixels; with `crop: bucket`
    pictures keep their shape in about as many pixels, with sides that are multiples of `multiple`.

    Args:
        encoder: names captions that are longer than the base reads; None: nobody looks.
        tell: takes each note, a sentence about a file that is used in another way than a person may expect.

    Returns:
        The photos in the order of their source names.

    Raises:
        PhotosError: photos, captions or the split cannot be used; every problem is listed.
    """
    examined = examine_photos(source, params, subject, size, multiple, encoder)
    for note in examined.notes:
        tell(note)
    if examined.problems:
        raise PhotosError(all_problems(str(source), examined.problems))
    readings, masks = examined.readings, examined.masks
    files = _file_names(readings)
    photos = [
        Photo(
            file=files[name],
            source=name,
            caption=examined.captions[name].text,
            split="heldout" if name in examined.heldout else "train",
            scene=examined.scenes[name],
            sha256=readings[name].sha256,
            md5=readings[name].md5,
            source_size=readings[name].shape.source_size,
            size=readings[name].picture.size,
            crop=readings[name].shape.crop,
            mask=files[name].replace("images/", "masks/") if name in masks else None,
            mask_sha256=masks[name].sha256 if name in masks else None,
            phash=f"{readings[name].likeness.hash:016x}",
            given_caption=examined.captions[name].given,
            caption_by=examined.captions[name].by,
            mask_by=masks[name].by if name in masks else None,
        )
        for name in readings
    ]
    with whole_folder(out) as folder:
        (folder / "images").mkdir()
        for photo in photos:
            readings[photo.source].picture.save(folder / photo.file, format="PNG")
            if photo.mask:
                (folder / photo.mask).parent.mkdir(exist_ok=True)
                masks[photo.source].picture.save(folder / photo.mask, format="PNG")
        write_manifest(folder / "manifest.jsonl", photos)
    return photos


def _file_names(readings: dict[str, Reading]) -> dict[str, str]:
    """Names of the prepared pictures: the stem in plain letters, with a digest where two would be the same."""
    stems = {name: re.sub(r"[^A-Za-z0-9_-]+", "_", Path(name).stem).strip("_") or "photo" for name in readings}
    stems = {name: stem[:LONGEST_NAME] for name, stem in stems.items()}
    lower = [stem.lower() for stem in stems.values()]
    return {
        name: f"images/{stem}.png"
        if lower.count(stem.lower()) == 1
        else f"images/{stem}-{readings[name].sha256[:12]}.png"
        for name, stem in stems.items()
    }
