"""From a folder of photos and captions to pictures of the base's size and a manifest, or to a list of problems."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from pipeline.errors import UserError
from pipeline.files import digest_file, whole_folder
from pipeline.params import Prepare, Subject
from pipeline.photos.captions import METADATA, list_photos, read_captions
from pipeline.photos.crop import Size, bucket_size, crop_box, fit
from pipeline.photos.manifest import Photo, write_manifest
from pipeline.photos.masks import read_masks
from pipeline.photos.read import PhotoProblem, open_photo
from pipeline.photos.similarity import near_groups, perceptual_hash
from pipeline.photos.split import SplitError, hold_out


class PhotosError(UserError):
    """Photos or captions cannot be used; the message lists every problem, by file, and what to do."""


@dataclass(frozen=True)
class Reading:
    """What is kept of a decoded photo: the prepared picture, and what tells it from others."""

    picture: Image.Image
    source_size: tuple[int, int]
    crop: tuple[int, int, int, int]
    sha256: str
    md5: str
    pixels: str
    likeness: int


def prepare_photos(
    source: Path, out: Path, params: Prepare, subject: Subject, size: int, multiple: int = 8
) -> list[Photo]:
    """Read, check, split, crop and resize the photos in `source`; write `out/images/*.png`, `out/masks/*.png` and
    `out/manifest.jsonl`.

    The same photos, captions and parameters give the same bytes. `out` is replaced as a whole once all is well, and
    left as it was when anything is refused. `size` is the side of the square pictures in pixels; with `crop: bucket`
    pictures keep their shape in about as many pixels, with sides that are multiples of `multiple`.

    Returns:
        The photos in the order of their source names.

    Raises:
        PhotosError: photos, captions or the split cannot be used; every problem is listed.
    """
    if not source.is_dir():
        raise PhotosError(
            f"{source} is not a folder: put the photos there with a {METADATA}, or run `dvc pull` if data.dvc tracks it"
        )
    paths = list_photos(source)
    if not paths:
        raise PhotosError(f"{source} holds no photos: put JPEG, PNG, WebP or HEIC files there, and a {METADATA}")
    captions, problems = read_captions(source, paths, subject.token)
    readings: dict[str, Reading] = {}
    for path in paths:
        try:
            readings[path.name] = _read(path, params, size, multiple)
        except PhotoProblem as problem:
            problems.append(f"{path.name}: {problem}")
    problems += _duplicates(readings)
    sizes = {name: reading.source_size for name, reading in readings.items()}
    masks, wrong = read_masks(source, sizes, params.max_pixels, params.min_side)
    problems += wrong
    _refuse(source, problems)

    names = list(readings)
    named = [captions[name].scene for name in names]
    try:
        scenes = _scenes([readings[name] for name in names], named, names)
        kept = hold_out(scenes, [readings[name].sha256 for name in names], params.heldout, params.seed)
    except (SplitError, PhotosError) as error:
        _refuse(source, [str(error)])
    files = _file_names(readings)
    photos = [
        Photo(
            file=files[name],
            source=name,
            caption=captions[name].text,
            split="heldout" if held else "train",
            scene=scene,
            sha256=readings[name].sha256,
            md5=readings[name].md5,
            source_size=readings[name].source_size,
            size=readings[name].picture.size,
            crop=readings[name].crop,
            mask=files[name].replace("images/", "masks/") if name in masks else None,
            mask_sha256=masks[name].sha256 if name in masks else None,
            phash=f"{readings[name].likeness:016x}",
        )
        for name, scene, held in zip(names, scenes, kept, strict=True)
    ]
    with whole_folder(out) as folder:
        (folder / "images").mkdir()
        for photo in photos:
            readings[photo.source].picture.save(folder / photo.file, format="PNG")
            if photo.mask:
                (folder / photo.mask).parent.mkdir(exist_ok=True)
                fit(masks[photo.source].picture, photo.crop, photo.size).save(folder / photo.mask, format="PNG")
        write_manifest(folder / "manifest.jsonl", photos)
    return photos


def _refuse(source: Path, problems: list[str]) -> None:
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise PhotosError(f"{source} has {count}:\n" + "\n".join(f"  {problem}" for problem in problems))


def _read(path: Path, params: Prepare, side: int, multiple: int) -> Reading:
    picture = open_photo(path, params.max_pixels, params.min_side)
    size: Size = (side, side)
    if params.crop == "bucket":
        size = bucket_size(picture.width, picture.height, side, multiple)
    box = crop_box(picture.width, picture.height, params.crop, size)
    return Reading(
        picture=fit(picture, box, size),
        source_size=picture.size,
        crop=box,
        sha256=digest_file(path),
        md5=digest_file(path, "md5"),
        pixels=_pixel_digest(picture),
        likeness=perceptual_hash(picture),
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
    lower = [stem.lower() for stem in stems.values()]
    return {
        name: f"images/{stem}.png"
        if lower.count(stem.lower()) == 1
        else f"images/{stem}-{readings[name].sha256[:12]}.png"
        for name, stem in stems.items()
    }
