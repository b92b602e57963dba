"""Subject masks: for a photo, where in it the subject is."""

import hashlib
import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.photos.colour import flatten
from pipeline.photos.crop import Box, Size, fit
from pipeline.photos.file_kinds import MASK_MARKS, FileKinds, NameIndex, printable
from pipeline.photos.problem import PhotoProblem
from pipeline.photos.read import decode, read_file
from pipeline.photos.text import clean_text

LEAST = 0.002  # share of a photo that the subject fills at least
NEARLY_ALL = 0.98  # a subject that fills more leaves no background to tell it from
COLOURED = 48  # levels between the channels of a pixel from which it counts as coloured; JPEG makes fewer
LONGEST_AUTHOR = 200  # characters
EXTREME = 32  # levels from black or white within which a pixel counts as painted


@dataclass(frozen=True)
class Shape:
    """How a photo was cut: (width, height) of it upright, the box that was kept, and the prepared size."""

    source_size: Size
    crop: Box
    size: Size


@dataclass(frozen=True)
class Mask:
    """White where the subject is: mode L, cut and resized like its photo. `sha256` is of the source file's bytes, `by`
    who made it, where the file says so (the text chunk `Author` of a PNG).
    """

    picture: Image.Image
    sha256: str
    by: str | None = None


@dataclass
class Masks:
    """Masks by the photo's name; problems and notes, each a sentence that begins with a file's name."""

    found: dict[str, Mask] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_masks(source: Path, kinds: FileKinds, shapes: dict[str, Shape], max_pixels: int) -> Masks:
    """The masks in `source/masks/`, and those beside their photos by other trainers' names; one at a time.

    Args:
        shapes: the photos that could be read, by name. A photo without a mask is all subject.
    """
    masks = Masks()
    owners = mask_owners(kinds)
    taken: dict[str, str] = {}
    for file in kinds.masks:
        photos = owners[file]
        where = printable(file)
        if len(photos) != 1:
            masks.problems.append(
                f"{where}: belongs to {len(photos)} photos; a mask is called like its one photo, such as "
                "masks/photo.png for photo.jpg"
            )
            continue
        photo = photos[0]
        if (other := taken.setdefault(photo, file)) != file:
            masks.problems.append(f"{where}: {photo} has the mask {printable(other)} already; keep one of them")
        elif photo in shapes:
            _take(source / file, where, photo, shapes[photo], max_pixels, masks)
    return masks


def mask_owners(kinds: FileKinds) -> dict[str, list[str]]:
    """For each mask file the photos that its name may mean: `photo`, `photo.jpg`, `photo-masklabel`, `photo.mask`."""
    names, stems = NameIndex(kinds.photos), NameIndex(kinds.photos, "stem")
    found = {}
    for file in kinds.masks:
        stem = Path(file).stem
        marks = [mark for mark in MASK_MARKS if stem.lower().endswith(mark)]
        plain = stem[: -len(marks[0])] if marks else stem
        found[file] = stems.find(stem) or names.find(stem) or stems.find(plain) or names.find(plain)
    return found


def alpha_mask(alpha: Image.Image, shape: Shape, sha256: str) -> Mask:
    """The mask of a photo whose background is transparent.

    Raises:
        PhotoProblem: hardly anything is opaque.
    """
    if _share(alpha) < LEAST:
        raise PhotoProblem("is transparent nearly all over; paint the subject opaque, or remove the alpha channel")
    return Mask(fit(alpha, shape.crop, shape.size), sha256)


def _take(path: Path, where: str, photo: str, shape: Shape, max_pixels: int, masks: Masks) -> None:
    try:
        content = read_file(path)
        picture = subject_of(decode(content, max_pixels, 1).picture)
        if picture.size != shape.source_size:
            have, want = ("x".join(map(str, size)) for size in (picture.size, shape.source_size))
            raise PhotoProblem(f"is {have} pixels, its photo {photo} is {want} when upright; make them the same")
        share = _share(picture)
        if share < LEAST:
            raise PhotoProblem("shows no subject; paint the subject white on black")
    except PhotoProblem as problem:
        masks.problems.append(f"{where}: {problem}")
        return
    if share > NEARLY_ALL:
        masks.notes.append(f"{where}: covers {share:.0%} of {photo}, so that it hardly tells the subject from anything")
    elif _looks_inverted(picture):
        masks.notes.append(f"{where}: is white along the edges and black inside; is it inverted? The subject is white")
    digest, by = hashlib.sha256(content).hexdigest(), _author(content)
    masks.found[photo] = Mask(fit(picture, shape.crop, shape.size), digest, by)


def _author(content: bytes) -> str | None:
    """The text `Author` of a PNG file that can be read; None where there is none."""
    try:
        with Image.open(io.BytesIO(content)) as picture:
            author = picture.info.get("Author")
        return clean_text(author)[:LONGEST_AUTHOR] or None if isinstance(author, str) else None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None  # metadata that cannot be read never stop a picture


def subject_of(picture: Image.Image) -> Image.Image:
    """Where a mask file says that the subject is, in mode L, whatever mode and values it was painted in.

    An alpha channel that is not opaque everywhere is the mask: a cut-out, or white with a transparent background. Else
    its brightness is; where it has but two values and one is black, the other is the subject (0 and 1, a label's
    colour).

    Raises:
        PhotoProblem: colours, or alpha and paint that say different things.
    """
    if picture.mode.startswith("I"):
        values = np.asarray(picture).astype(np.int64)
        top = 65535 if values.max() > 255 else 255
        grey = np.clip(values * 255 // top, 0, 255).astype(np.uint8)
        return Image.fromarray(_two_valued(values, grey))
    if picture.mode == "F":
        raise PhotoProblem("has floating point samples; save it with 8 bits, white on black")
    flat, alpha = flatten(picture)
    if alpha is not None:
        solid = np.asarray(alpha) > 127
        paint = np.asarray(picture.convert("RGBA").convert("L"))[solid]
        dark, bright = (float(part.sum()) / max(paint.size, 1) for part in (paint < EXTREME, paint > 255 - EXTREME))
        if min(dark, bright) > LEAST and dark + bright > NEARLY_ALL:
            raise PhotoProblem("has both a transparent part and black and white paint; keep one of the two")
        return alpha
    colours = np.asarray(flat.convert("RGB"), np.int16)
    levels = np.asarray(flat.convert("L"))
    spread = colours.max(axis=2) - colours.min(axis=2)
    labels = colours[..., 0].astype(np.int64) << 16 | colours[..., 1].astype(np.int64) << 8 | colours[..., 2]
    two = _two_valued(labels, levels)
    if two is levels and (spread > COLOURED).mean() > LEAST:
        raise PhotoProblem("is coloured, so it is unclear which part is the subject; paint the subject white on black")
    return Image.fromarray(two)


def _two_valued(values: np.ndarray, grey: np.ndarray) -> np.ndarray:
    """White for the one value that is not 0, where there are these two alone; else `grey`."""
    found = np.unique(values[:64]) if values.shape[0] > 64 else np.unique(values)
    if len(found) <= 2 and len(found := np.unique(values)) == 2 and found[0] == 0:
        return np.where(values == 0, 0, 255).astype(np.uint8)
    return grey


def _share(mask: Image.Image) -> float:
    return sum(mask.histogram()[128:]) / (mask.width * mask.height)


def _looks_inverted(mask: Image.Image) -> bool:
    white = np.asarray(mask) > 127
    edge = np.concatenate([white[0], white[-1], white[:, 0], white[:, -1]])
    return bool(edge.mean() > 0.95 and white.mean() > 0.5)
