"""A folder of photos and captions, looked at as a whole: what is in it, what is wrong with it, how it is split."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from pipeline.params import Prepare, Subject
from pipeline.photos.caption_length import TextEncoder, too_long
from pipeline.photos.captions import Caption, other_token, read_captions
from pipeline.photos.crop import Size, bucket_size, crop_box, fit
from pipeline.photos.file_kinds import METADATA, NameIndex, printable, scan_folder
from pipeline.photos.masks import Mask, Shape, alpha_mask, read_masks
from pipeline.photos.problem import PhotoProblem
from pipeline.photos.read import READABLE, pixel_limit_lifted, read_file, read_photo
from pipeline.photos.similarity import Likeness, near_groups
from pipeline.photos.split import SplitError, hold_out

LONGEST_TEXT = 64 << 20  # bytes of a file with captions


@dataclass(frozen=True)
class Reading:
    """What is kept of a decoded photo: the prepared picture, and what tells it from others.

    `alpha` is the mask that its alpha channel makes, or None; `note` what a person should know.
    """

    picture: Image.Image
    shape: Shape
    sha256: str
    md5: str
    pixels: str
    likeness: Likeness
    alpha: Mask | None
    note: str | None


@dataclass
class Examined:
    """What was found in a folder of photos, by the names of its files.

    `problems` are sentences that refuse the folder; `scenes` and `heldout` are known only where there are none.
    """

    problems: list[str]
    notes: list[str] = field(default_factory=list)
    captions: dict[str, Caption] = field(default_factory=dict)
    readings: dict[str, Reading] = field(default_factory=dict)
    masks: dict[str, Mask] = field(default_factory=dict)
    scenes: dict[str, str] = field(default_factory=dict)
    heldout: set[str] = field(default_factory=set)


def examine_photos(
    source: Path,
    params: Prepare,
    subject: Subject,
    size: int,
    multiple: int = 8,
    encoder: TextEncoder | None = None,
) -> Examined:
    """Read and check all that `prepare_photos` needs; writes nothing and refuses nothing: problems are listed.

    Args:
        encoder: names captions that are longer than the base reads; None: nobody looks.
    """
    if not source.is_dir():
        return Examined([f"{source} is not a folder: put the photos there, or run `dvc pull` if data.dvc tracks it"])
    if params.crop == "bucket" and size < multiple:
        return Examined([f"prepare.size: {size} pixels; this base needs a multiple of {multiple}"])
    kinds, unfit = scan_folder(source)
    problems = list(unfit)
    if not kinds.photos and not problems:
        return Examined([f"there are no photos: put {READABLE} files there"])
    captions = read_captions(kinds, lambda name: _text_of(source / name), subject.token, subject.class_noun)
    problems += captions.problems
    notes = [f"{printable(name)}: belongs to a photo and is not used" for name in kinds.sidecars] + captions.notes
    readings: dict[str, Reading] = {}
    for name in kinds.photos:
        try:
            readings[name] = _read(source / name, params, size, multiple)
        except PhotoProblem as problem:
            problems.append(f"{printable(name)}: {problem}")
    doubles = _duplicates(readings)
    problems += doubles
    notes += [f"{printable(name)}: {reading.note}" for name, reading in readings.items() if reading.note]
    found = read_masks(source, kinds, {name: reading.shape for name, reading in readings.items()}, params.max_pixels)
    problems += found.problems
    notes += found.notes
    masks = dict(found.found)
    for name, reading in readings.items():
        if reading.alpha and name not in masks:
            masks[name] = reading.alpha
            notes.append(
                f"{printable(name)}: is transparent in places: its alpha channel is its mask, with white behind it"
            )
    foreign = other_token(captions, subject.token, subject.class_noun)
    problems += [foreign] if foreign else []
    if encoder:
        for name, caption in sorted(captions.found.items()):
            beyond, cut = too_long(name, caption.text, encoder)
            problems += [beyond] if beyond else []
            notes += [cut] if cut else []
    examined = Examined(problems, notes, captions.found, readings, masks)
    all_known = not (unfit or doubles or captions.problems) and len(readings) == len(kinds.photos)
    _split(examined, params, all_known)
    return examined


def _split(examined: Examined, params: Prepare, all_known: bool) -> None:
    """Find the scene of each photo and which ones are held out; what stands against it is added to the problems.

    Args:
        all_known: every photo and its scene is known; where one is not, nobody can say yet what can be held out.
    """
    names, captions = list(examined.readings), examined.captions
    readings = [examined.readings[name] for name in names]
    named = [captions[name].scene if name in captions else None for name in names]
    groups = near_groups([reading.likeness for reading in readings])
    examined.notes += _near_in_two_scenes(groups, named, names)
    if not all_known:
        return
    scenes = _scenes(groups, named, names)
    always = _always_heldout(params, names, examined.notes.append)
    try:
        kept = hold_out(scenes, [reading.sha256 for reading in readings], params.heldout, params.seed, always)
    except SplitError as error:
        examined.problems.append(str(error))
        return
    if not examined.problems:
        examined.scenes = dict(zip(names, scenes, strict=True))
        examined.heldout = {name for name, held in zip(names, kept, strict=True) if held}


def _text_of(path: Path) -> bytes:
    if path.stat().st_size > LONGEST_TEXT:
        raise OSError(f"it has more than {LONGEST_TEXT >> 20} MiB, which is no caption")
    return path.read_bytes()


def _read(path: Path, params: Prepare, side: int, multiple: int) -> Reading:
    content = read_file(path)
    photo = read_photo(content, params.max_pixels, params.min_side)
    picture = photo.picture
    size: Size = (side, side)
    if params.crop == "bucket":
        size = bucket_size(picture.width, picture.height, side, multiple)
    shape = Shape(picture.size, crop_box(picture.width, picture.height, params.crop, size), size)
    sha256 = hashlib.sha256(content).hexdigest()
    with pixel_limit_lifted():
        return Reading(
            picture=fit(picture, shape.crop, size),
            shape=shape,
            sha256=sha256,
            md5=hashlib.md5(content, usedforsecurity=False).hexdigest(),
            pixels=_pixel_digest(picture),
            likeness=Likeness.of(picture),
            alpha=alpha_mask(photo.alpha, shape, sha256) if photo.alpha else None,
            note=photo.note,
        )


def _pixel_digest(picture: Image.Image) -> str:
    return hashlib.sha256(f"{picture.size}".encode() + picture.tobytes()).hexdigest()


def _duplicates(readings: dict[str, Reading]) -> list[str]:
    first: dict[str, str] = {}
    found = []
    for name, reading in readings.items():
        other = first.setdefault(reading.pixels, name)
        if other != name:
            found.append(f"{printable(name)}: shows the same pixels as {printable(other)}; keep one of them")
    return found


def _always_heldout(params: Prepare, names: list[str], tell: Callable[[str], None]) -> list[int]:
    """Where in `names` the photos of prepare.always_heldout are; a note for each that is gone, or that none counts."""
    if params.always_heldout and params.heldout == 0:
        tell("prepare.always_heldout names photos, but prepare.heldout is 0: none is held out; set it to 1 or more")
        return []
    index = NameIndex(names)
    found = []
    for name in params.always_heldout:
        photos = index.find(name)
        if len(photos) == 1:
            found.append(names.index(photos[0]))
        else:
            tell(f"prepare.always_heldout names {printable(name)}, which is not among the photos")
    return found


def _near_in_two_scenes(groups: list[int], named: list[str | None], names: list[str]) -> list[str]:
    """A note for each photo that looks nearly like an earlier one and is named as another scene, which it keeps."""
    first: dict[int, tuple[str, str]] = {}
    found = []
    for group, scene, name in zip(groups, named, names, strict=True):
        if not scene:
            continue
        other, known = first.setdefault(group, (name, scene))
        if known != scene:
            found.append(
                f"{printable(name)}: looks nearly like {printable(other)}, but their scenes differ ('{scene}', "
                f"'{known}'), so that one may be held out while the other is trained on; if they show the same, give "
                f'both one "scene" in {METADATA}, or remove one'
            )
    return found


def _scenes(groups: list[int], named: list[str | None], names: list[str]) -> list[str]:
    """The scene of each photo: as the metadata names it, else one that it shares with photos that look nearly alike."""
    known = {group: scene for group, scene in zip(groups, named, strict=True) if scene}
    return [scene or known.get(group, names[group]) for group, scene in zip(groups, named, strict=True)]
