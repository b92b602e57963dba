"""Masks by hand: the picture to paint on, the mask that is there or proposed, and a painted one for `data/masks`."""

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pipeline.files import digest_file, write_bytes
from pipeline.layout import DATA, PARAMS
from pipeline.params import Prepare, load_params
from pipeline.photos.file_kinds import MASKS, scan_folder
from pipeline.photos.masks import LEAST, mask_owners, subject_of
from pipeline.photos.problem import PhotoProblem
from pipeline.photos.read import decode, open_photo, read_file
from pipeline.photos.text import clean_text
from pipeline.runs.photo_desk import LEFT_OUT, DeskError, track_photos
from pipeline.runs.profiles import free_name
from pipeline.runs.proposals import painted_for

LONGEST = 1024  # pixels of the longer side of the picture that is painted on


@dataclass(frozen=True)
class Easel:
    """A photo to paint on: upright, reduced to `LONGEST`; its mask in the same size, mode L, None where there is none.

    `before` is the sha256 of the file of that mask; a proposal that nobody has accepted has `proposed` and no `before`.
    """

    name: str
    picture: Image.Image
    mask: Image.Image | None
    before: str
    proposed: bool


def set_up(workspace: Path, name: str) -> Easel:
    """What somebody needs to paint the mask of a photo.

    Raises:
        DeskError: there is no such photo, or it or its mask cannot be read.
    """
    picture = _photo(workspace, name)
    size = _reduced(picture.size)
    files = mask_files(workspace, name)
    file = files[0] if files else painted_for(workspace, name)
    mask = None
    if file is not None:
        try:
            mask = subject_of(decode(read_file(file), _limits(workspace).max_pixels, 1).picture).resize(size)
        except PhotoProblem as problem:
            raise DeskError(f"the mask {file.name} {problem}") from None
    before = digest_file(files[0]) if files else ""
    return Easel(name, picture.resize(size, Image.Resampling.LANCZOS), mask, before, bool(file and not files))


def keep_mask(workspace: Path, name: str, content: bytes, by: str, before: str) -> Path | None:
    """Write a mask of a photo to `data/masks/<photo>.png`, in the photo's size, with the painter's name in it.

    The mask before is kept below .dreamtrace; its place is returned, None where there was none.

    Args:
        content: a picture as `subject_of` reads it, in the photo's own size or in that of the easel.
        before: the `before` of the easel that it was painted on.

    Raises:
        DeskError: it is no picture, of another size, shows no subject, or the mask was changed meanwhile.
    """
    photo = _photo(workspace, name)
    try:
        mask = subject_of(decode(content, _limits(workspace).max_pixels, 1).picture)
    except PhotoProblem as problem:
        raise DeskError(f"the mask {problem}") from None
    if mask.size not in (photo.size, _reduced(photo.size)):
        have, want = ("x".join(map(str, size)) for size in (mask.size, photo.size))
        raise DeskError(f"the mask is {have} pixels, {name} is {want} when upright; make them the same")
    mask = mask.resize(photo.size, Image.Resampling.BILINEAR).point(lambda value: 255 * (value > 127))
    if mask.histogram()[255] < LEAST * mask.width * mask.height:
        raise DeskError("the mask shows no subject; paint the subject, and nothing else")
    kept = _put_aside(workspace, name, before)
    info, target = PngInfo(), io.BytesIO()
    info.add_itxt("Author", f"painted by {clean_text(by)}")
    mask.save(target, "PNG", pnginfo=info)
    write_bytes(workspace / DATA / MASKS / f"{name}.png", target.getvalue())
    track_photos(workspace)
    return kept


def remove_mask(workspace: Path, name: str, before: str) -> Path:
    """Take the mask of a photo away; where it is kept.

    Raises:
        DeskError: there is none, or it was changed meanwhile.
    """
    kept = _put_aside(workspace, name, before)
    if kept is None:
        raise DeskError(f"{name} has no mask")
    track_photos(workspace)
    return kept


def mask_files(workspace: Path, name: str) -> list[Path]:
    """The mask files that belong to a photo, by whichever name."""
    kinds, _ = scan_folder(workspace / DATA)
    return [workspace / DATA / file for file, photos in mask_owners(kinds).items() if photos == [name]]


def _photo(workspace: Path, name: str) -> Image.Image:
    limits = _limits(workspace)
    if not (workspace / DATA).is_dir() or name not in scan_folder(workspace / DATA)[0].photos:
        raise DeskError(f"there is no photo {name}")
    try:
        return open_photo(workspace / DATA / name, limits.max_pixels, limits.min_side)
    except PhotoProblem as problem:
        raise DeskError(f"{name} {problem}") from None


def _limits(workspace: Path) -> Prepare:
    return load_params(workspace / PARAMS).prepare


def _reduced(size: tuple[int, int]) -> tuple[int, int]:
    share = min(1.0, LONGEST / max(size))
    return max(1, round(size[0] * share)), max(1, round(size[1] * share))


def _put_aside(workspace: Path, name: str, before: str) -> Path | None:
    """Move the mask of a photo out of `data/`, if it is still the one that somebody saw."""
    files = mask_files(workspace, name)
    if len(files) > 1:
        raise DeskError(f"{name} has several masks: {', '.join(file.name for file in files)}; keep one of them")
    if (digest_file(files[0]) if files else "") != before:
        raise DeskError(f"the mask of {name} was changed meanwhile; load the page again, and paint on what is there")
    if not files:
        return None
    kept = free_name(workspace / LEFT_OUT / MASKS / files[0].name)
    kept.parent.mkdir(parents=True, exist_ok=True)
    files[0].rename(kept)
    return kept
