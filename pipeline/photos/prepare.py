"""From a folder of photos and captions to pictures of the base's size and a manifest, or to a list of problems."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from pipeline.errors import UserError
from pipeline.files import whole_folder
from pipeline.params import Prepare, Subject
from pipeline.photos.caption_length import TextEncoder, too_long
from pipeline.photos.captions import other_token, read_captions
from pipeline.photos.crop import Size, bucket_size, crop_box, fit
from pipeline.photos.file_kinds import METADATA, NameIndex, scan_folder
from pipeline.photos.manifest import Photo, write_manifest
from pipeline.photos.masks import Mask, Shape, alpha_mask, read_masks
from pipeline.photos.problem import PhotoProblem
from pipeline.photos.read import READABLE, pixel_limit_lifted, read_file, read_photo
from pipeline.photos.similarity import near_groups, perceptual_hash
from pipeline.photos.split import SplitError, hold_out

LONGEST_NAME = 80  # letters of a prepared file's name
LONGEST_TEXT = 64 << 20  # bytes of a file with captions


class PhotosError(UserError):
    """Photos or captions cannot be used; the message lists every problem, by file, and what to do."""


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
    likeness: int
    alpha: Mask | None
    note: str | None


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
    if not source.is_dir():
        raise PhotosError(
            f"{source} is not a folder: put the photos there with a {METADATA}, or run `dvc pull` if data.dvc tracks it"
        )
    kinds, problems = scan_folder(source)
    if not kinds.photos and not problems:
        raise PhotosError(f"{source} holds no photos: put {READABLE} files there, and a {METADATA}")
    captions = read_captions(kinds, lambda name: _text_of(source / name), subject.token, subject.class_noun)
    problems += captions.problems
    notes = [f"{name}: belongs to a photo and is not used" for name in kinds.sidecars] + captions.notes
    readings: dict[str, Reading] = {}
    for name in kinds.photos:
        try:
            readings[name] = _read(source / name, params, size, multiple)
        except PhotoProblem as problem:
            problems.append(f"{name}: {problem}")
    problems += _duplicates(readings)
    notes += [f"{name}: {reading.note}" for name, reading in readings.items() if reading.note]
    found = read_masks(source, kinds, {name: reading.shape for name, reading in readings.items()}, params.max_pixels)
    problems += found.problems
    notes += found.notes
    masks = dict(found.found)
    for name, reading in readings.items():
        if reading.alpha and name not in masks:
            masks[name] = reading.alpha
            notes.append(f"{name}: is transparent in places: its alpha channel is its mask, and white stands behind it")
    if encoder:
        foreign = other_token(captions, subject.class_noun, encoder.count)
        problems += [foreign] if foreign else []
        for name, caption in sorted(captions.found.items()):
            beyond, cut = too_long(name, caption.text, encoder)
            problems += [beyond] if beyond else []
            notes += [cut] if cut else []
    for note in notes:
        tell(note)
    _refuse(source, problems)

    names = list(readings)
    named = [captions.found[name].scene for name in names]
    digests = [readings[name].sha256 for name in names]
    try:
        scenes = _scenes([readings[name] for name in names], named, names)
        always = _always_heldout(params.always_heldout, names, tell)
        kept = hold_out(scenes, digests, params.heldout, params.seed, always)
    except (SplitError, PhotosError) as error:
        _refuse(source, [str(error)])
    files = _file_names(readings)
    photos = [
        Photo(
            file=files[name],
            source=name,
            caption=captions.found[name].text,
            split="heldout" if held else "train",
            scene=scene,
            sha256=readings[name].sha256,
            md5=readings[name].md5,
            source_size=readings[name].shape.source_size,
            size=readings[name].picture.size,
            crop=readings[name].shape.crop,
            mask=files[name].replace("images/", "masks/") if name in masks else None,
            mask_sha256=masks[name].sha256 if name in masks else None,
            phash=f"{readings[name].likeness:016x}",
            given_caption=captions.found[name].given,
        )
        for name, scene, held in zip(names, scenes, kept, strict=True)
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


def _refuse(source: Path, problems: list[str]) -> None:
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise PhotosError(f"{source} has {count}:\n" + "\n".join(f"  {problem}" for problem in problems))


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
            likeness=perceptual_hash(picture),
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
            found.append(f"{name}: shows the same pixels as {other}; keep one of them")
    return found


def _always_heldout(wanted: list[str], names: list[str], tell: Callable[[str], None]) -> list[int]:
    """Where in `names` the photos of prepare.always_heldout are; a note for each that is gone."""
    index = NameIndex(names)
    found = []
    for name in wanted:
        photos = index.find(name)
        if len(photos) == 1:
            found.append(names.index(photos[0]))
        else:
            tell(f"prepare.always_heldout names {name}, which is not among the photos")
    return found


def _scenes(readings: list[Reading], named: list[str | None], names: list[str]) -> list[str]:
    """The scene of each photo: as the metadata names it, else one that it shares with photos that look nearly alike.

    Raises:
        PhotosError: two photos that look nearly alike are named as different scenes, so that one might be held out
            while the other is trained on.
    """
    groups = near_groups([reading.likeness for reading in readings])
    scenes: dict[int, str] = {}
    for group, scene, name in zip(groups, named, names, strict=True):
        if scene and scenes.setdefault(group, scene) != scene:
            other = next(n for g, s, n in zip(groups, named, names, strict=True) if g == group and s == scenes[group])
            raise PhotosError(
                f"{name}: looks nearly like {other}, but their scenes differ ('{scene}', '{scenes[group]}'); "
                f'give both one "scene" in {METADATA}, or remove one'
            )
    return [scene or scenes.get(group, names[group]) for group, scene in zip(groups, named, strict=True)]


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
