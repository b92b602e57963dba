"""From a folder of photos and captions to square pictures of one size and a manifest, or to a list of problems."""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image

from pipeline.files import digest_file, whole_folder
from pipeline.params import Prepare, Subject
from pipeline.photos.captions import read_captions
from pipeline.photos.crop import Box, crop_square, square_box
from pipeline.photos.folder import list_folder
from pipeline.photos.likeness import perceptual_hash, pixel_digest
from pipeline.photos.manifest import Photo, write_manifest
from pipeline.photos.problems import Problems
from pipeline.photos.read import NotAPicture, PhotoRefused, read_photo
from pipeline.photos.split import SplitImpossible, choose_heldout, crossing_pairs, find_scenes

LONGEST_STEM = 80


@dataclass(frozen=True)
class Reading:
    """What is kept of a photo once it has been decoded: the square picture and what tells it from others."""

    picture: Image.Image
    source_size: tuple[int, int]
    crop: Box
    sha256: str
    md5: str
    pixels: str
    likeness: int


def prepare_photos(source: Path, out: Path, params: Prepare, subject: Subject, size: int) -> list[Photo]:
    """Read, check, split, crop and resize the photos in `source`; write `out/images/*.png` and `out/manifest.jsonl`.

    The same photos, captions and parameters give the same bytes. `out` is replaced as a whole once all is well,
    and left as it was when anything is refused. The split is judged only where every photo could be read, since
    it hangs on all of them.

    Args:
        size: side of the square pictures in pixels.

    Returns:
        The photos in the order of their source names.

    Raises:
        PhotosError: photos, captions or the split cannot be used; every problem is listed.
    """
    problems = Problems(source)
    listing = list_folder(source, problems)
    readings: dict[str, Reading] = {}
    strays = set()
    for name in listing.pictures:
        try:
            readings[name] = _read(source / name, params, size)
        except PhotoRefused as refused:
            problems.add(name, str(refused))
            if isinstance(refused, NotAPicture):
                strays.add(name)
    photos = [name for name in listing.pictures if name not in strays]
    captions = read_captions(source, listing, photos, subject, problems)
    _refuse_duplicates(readings, problems)
    scenes: dict[str, str] = {}
    heldout: set[str] = set()
    if readings and len(readings) == len(photos):
        named = {name: captions[name].scene if name in captions else None for name in readings}
        scenes, heldout = _split(readings, named, params, problems)
    problems.check()

    files = _file_names(readings)
    prepared = [
        Photo(
            file=files[name],
            source=name,
            caption=captions[name].text,
            split="heldout" if name in heldout else "train",
            scene=scenes[name],
            sha256=reading.sha256,
            md5=reading.md5,
            source_size=reading.source_size,
            size=reading.picture.size,
            crop=reading.crop,
        )
        for name, reading in readings.items()
    ]
    with whole_folder(out) as folder:
        (folder / "images").mkdir()
        for photo in prepared:
            readings[photo.source].picture.save(folder / photo.file, format="PNG")
        write_manifest(folder / "manifest.jsonl", prepared)
    return prepared


def _read(path: Path, params: Prepare, size: int) -> Reading:
    image = read_photo(path, params.max_pixels, params.min_side)
    box = square_box(image.size, params.crop)
    return Reading(
        picture=crop_square(image, box, size),
        source_size=image.size,
        crop=box,
        sha256=digest_file(path),
        md5=digest_file(path, "md5"),
        pixels=pixel_digest(image),
        likeness=perceptual_hash(image),
    )


def _refuse_duplicates(readings: Mapping[str, Reading], problems: Problems) -> None:
    first: dict[str, str] = {}
    for name, reading in readings.items():
        same = first.setdefault(reading.pixels, name)
        if same != name:
            problems.add(name, f"shows the very same pixels as {same}; keep one of them")


def _split(
    readings: Mapping[str, Reading], named: Mapping[str, str | None], params: Prepare, problems: Problems
) -> tuple[dict[str, str], set[str]]:
    """The scene of each photo, and the held-out photos."""
    hashes = {name: reading.likeness for name, reading in readings.items()}
    scenes = find_scenes(named, hashes)
    digests = {name: reading.sha256 for name, reading in readings.items()}
    try:
        heldout = choose_heldout(scenes, digests, params.heldout, params.seed)
    except SplitImpossible as impossible:
        problems.add("", str(impossible))
        return scenes, set()
    for trained, kept in crossing_pairs(heldout, hashes):
        if readings[trained].pixels == readings[kept].pixels:
            continue  # already refused as the same photo
        problems.add(
            kept,
            f"is held out, but looks nearly like {trained}, which is trained on; give both the same "
            '"scene" in metadata.jsonl, or remove one',
        )
    return scenes, heldout


def _file_names(readings: Mapping[str, Reading]) -> dict[str, str]:
    """Names of the prepared pictures: the source's stem in plain letters; where two would meet, with a digest."""
    stems = {name: _plain(PurePosixPath(name).stem) for name in readings}
    # Counted without case, since some file systems see no difference between A.png and a.png.
    uses = Counter(stem.lower() for stem in stems.values())
    return {
        name: f"images/{stem}.png" if uses[stem.lower()] == 1 else f"images/{stem}-{readings[name].sha256[:12]}.png"
        for name, stem in stems.items()
    }


def _plain(stem: str) -> str:
    ascii_only = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_-]+", "_", ascii_only).strip("_")[:LONGEST_STEM] or "photo"
