"""Subject masks: for a photo, where in it the subject is."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from pipeline.files import digest_file
from pipeline.photos.read import PhotoProblem, open_photo

MASKS = "masks"
LEAST = 0.002  # share of a photo that the subject fills at least


@dataclass(frozen=True)
class Mask:
    """White where the subject is: mode L, the size of the upright photo. `sha256` is of the source file's bytes."""

    picture: Image.Image
    source: str
    sha256: str


def read_masks(
    source: Path, sizes: dict[str, tuple[int, int]], max_pixels: int, min_side: int
) -> tuple[dict[str, Mask], list[str]]:
    """Masks by photo name, from `source/masks/<photo's name without ending>.png`, and every problem as a sentence.

    Args:
        sizes: (width, height) of the upright photos, by name. A photo without a mask is all subject.
    """
    folder = source / MASKS
    found: dict[str, Mask] = {}
    problems: list[str] = []
    if not folder.is_dir():
        return found, problems
    photos: dict[str, list[str]] = {}
    for name in sizes:
        photos.setdefault(Path(name).stem, []).append(name)
    for path in sorted(path for path in folder.iterdir() if not path.name.startswith(".")):
        where = f"{MASKS}/{path.name}"
        names = photos.get(path.stem, [])
        if path.suffix.lower() != ".png" or len(names) != 1:
            problems.append(
                f"{where}: belongs to {len(names)} photos; a mask is called like its one photo, with the ending .png"
            )
            continue
        try:
            picture = open_photo(path, max_pixels, min_side).convert("L")
        except PhotoProblem as problem:
            problems.append(f"{where}: {problem}")
            continue
        if picture.size != sizes[names[0]]:
            have, want = ("x".join(map(str, size)) for size in (picture.size, sizes[names[0]]))
            problems.append(f"{where}: is {have} pixels, its photo {names[0]} is {want}; make them the same")
            continue
        share = sum(picture.histogram()[128:]) / (picture.width * picture.height)
        if share < LEAST:
            problems.append(f"{where}: shows no subject; paint the subject white on black")
            continue
        found[names[0]] = Mask(picture, where, digest_file(path))
    return found, problems
