"""The manifest of prepared photos: one line a photo, from its source file to the picture that is trained on."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from pipeline.errors import UserError, counted
from pipeline.files import write_jsonl

Side = Annotated[int, Field(ge=1)]
Text = Annotated[str, Field(min_length=1)]
Hex64 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Hex32 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Hex16 = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


class ManifestError(UserError):
    """manifest.jsonl is missing or is not what `prepare` writes."""


@dataclass(frozen=True)
class Photo:
    """A prepared photo.

    `file` is relative to the manifest's folder, `source` to the folder of the photos. `source_size` is (width,
    height) of the upright photo, `crop` what is kept of it (left, top, right, bottom), which reaches outside
    where the photo was padded; `size` is (width, height) of the prepared picture. `sha256` and `md5` (DVC's digest)
    are of the source file's bytes, `phash` is the perceptual hash of the upright photo, by which an altered copy is
    recognised (None in manifests of older versions). `given_caption` is what a person wrote, where the token was put
    into the caption by rule ("": nothing was written), else None; `caption_by` and `mask_by` are who made them, where
    the files say so. `mask` is the subject's mask, prepared like the picture, where there is one.
    """

    file: Annotated[str, Field(pattern=r"^images/[A-Za-z0-9_-]+\.png$")]
    source: Text
    caption: Text
    split: Literal["train", "heldout"]
    scene: Text
    sha256: Hex64
    md5: Hex32
    source_size: tuple[Side, Side]
    size: tuple[Side, Side]
    crop: tuple[int, int, int, int]
    mask: Annotated[str, Field(pattern=r"^masks/[A-Za-z0-9_-]+\.png$")] | None = None
    mask_sha256: Hex64 | None = None
    phash: Hex16 | None = None
    given_caption: str | None = None
    caption_by: str | None = None
    mask_by: str | None = None

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)


def write_manifest(path: Path, photos: Iterable[Photo]) -> None:
    """Write one JSON line a photo, atomically."""
    write_jsonl(path, map(asdict, photos))


def read_manifest(path: Path) -> list[Photo]:
    """Read the manifest that `write_manifest` wrote, in its order.

    Raises:
        ManifestError: the file is missing, has no photos or only held-out ones, names a file twice, or has lines
            with unknown, missing or mistyped fields; all of them are listed at once.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ManifestError(f"{path} does not exist; `dvc repro prepare` writes it") from None
    photos: list[Photo] = []
    problems: list[str] = []
    check = TypeAdapter(Photo)
    for number, line in enumerate(text.split("\n"), start=1):
        if not line:
            continue
        try:
            photos.append(check.validate_json(line))
        except ValidationError as error:
            problems += [f"  line {number}: {_where(problem['loc'])}{problem['msg']}" for problem in error.errors()]
    files = [photo.file for photo in photos]
    problems += [
        f"  {file} is listed {files.count(file)} times" for file in sorted(set(files)) if files.count(file) > 1
    ]
    if not problems and not any(photo.split == "train" for photo in photos):
        problems.append("  no photo to train on")
    if problems:
        raise ManifestError(
            "\n".join([f"{path} is not a manifest; `dvc repro -f prepare` writes it again:", *problems])
        )
    return photos


def summary(photos: Iterable[Photo]) -> str:
    """One line for a person: how many photos, how many to train on, which scenes are held out."""
    photos = list(photos)
    heldout = [photo for photo in photos if photo.split == "heldout"]
    total = counted(len(photos), "photo")
    if not heldout:
        return f"{total}: all to train, none held out"
    scenes = sorted({photo.scene for photo in heldout})
    named = f"scene{'s' * (len(scenes) != 1)} {', '.join(scenes)}"
    return f"{total}: {len(photos) - len(heldout)} to train, {len(heldout)} held out ({named})"


def _where(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) + ": " if location else ""


def training_captions(photos: Sequence[Photo]) -> list[str]:
    """Captions of the photos that are trained on."""
    return [photo.caption for photo in photos if photo.split == "train"]


def photo_digests(photos: Iterable[Photo], split: Literal["train", "heldout"]) -> list[str]:
    """sha256 of the source files of one split, sorted."""
    return sorted(photo.sha256 for photo in photos if photo.split == split)
