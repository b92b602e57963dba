"""Opening photos from outside: known formats only, limits before decoding, upright, in sRGB, without metadata."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, PngImagePlugin, UnidentifiedImageError

from pipeline.errors import in_units
from pipeline.photos.colour import sample_range, to_srgb
from pipeline.photos.containers import transparent_key, without_metadata
from pipeline.photos.problem import PhotoProblem
from pipeline.photos.signatures import kind_of
from pipeline.photos.stated_colours import stated_colours

FORMATS = ("JPEG", "PNG", "WEBP", "HEIF", "AVIF", "TIFF", "BMP")
READABLE = "JPEG, PNG, WebP, HEIC, AVIF, TIFF or BMP"
MOST_BYTES = 1 << 30  # of a file
MOST_TEXT = 16 << 20  # bytes of a PNG's text or profile once inflated; beyond it they are left out
ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
XMP = ("xmp", "XML:com.adobe.xmp")
SUBFILE_TYPE, PHOTOMETRIC, DNG_VERSION = 254, 262, 50706  # TIFF tags
MP_ENTRIES = 0xB002  # of an MPO's index
SENSOR_PIXELS = 32803  # photometric interpretation of a camera's raw file

__all__ = ["PhotoProblem", "ReadPhoto", "decode", "open_photo", "pixel_limit_lifted", "read_file", "read_photo"]


@dataclass(frozen=True)
class ReadPhoto:
    """An upright photo in RGB on white; `alpha` (mode L) where its file has one; `note`: what a person should know."""

    picture: Image.Image
    alpha: Image.Image | None
    note: str | None


@dataclass(frozen=True)
class Decoded:
    """An upright picture as its file has it.

    Samples of more than 8 bits reach from 0 to `largest` (None: unknown); `white_is_zero` says that they count
    from white to black. `exponent`: the power that turns samples into those of a
    usual screen (None: they are). `note`: what a person should know.
    """

    picture: Image.Image
    largest: int | None
    white_is_zero: bool
    exponent: float | None
    note: str | None


def open_photo(path: Path, max_pixels: int, min_side: int) -> Image.Image:
    """Decode a photo: RGB, turned upright by its EXIF orientation, transparency on white, no metadata.

    Raises:
        PhotoProblem: not a picture, another format, too many pixels (read from the header, before decoding),
            too small, or cut off.
    """
    return read_photo(read_file(path), max_pixels, min_side).picture


def read_file(path: Path) -> bytes:
    """The bytes of a picture file.

    Raises:
        PhotoProblem: it cannot be read, is empty, or is larger than any photo.
    """
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise PhotoProblem(f"is {in_units(size)}, more than the limit of {in_units(MOST_BYTES)}")
        content = path.read_bytes()
    except OSError as error:
        raise PhotoProblem(f"cannot be read: {error.strerror or error}") from None
    if not content:
        raise PhotoProblem("is empty (0 bytes); copy it again")
    return content


def read_photo(content: bytes, max_pixels: int, min_side: int) -> ReadPhoto:
    """`open_photo` for the bytes of a file.

    Raises:
        PhotoProblem: as `open_photo`, or transparent all over.
    """
    decoded = decode(content, max_pixels, min_side)
    try:
        with pixel_limit_lifted():
            made, alpha = to_srgb(decoded.picture, decoded.largest, decoded.white_is_zero)
            if decoded.exponent is not None:
                made = made.point([round(255 * (value / 255) ** decoded.exponent) for value in range(256)] * 3)
    except PhotoProblem:
        raise
    except Exception as error:  # whatever a damaged picture makes the libraries raise
        raise PhotoProblem(f"cannot be converted to RGB: {_reason(error)}") from None
    if alpha and alpha.getextrema()[1] == 0:
        raise PhotoProblem("is transparent all over")
    return ReadPhoto(made, alpha, decoded.note)


def decode(content: bytes, max_pixels: int, min_side: int) -> Decoded:
    """The upright picture in its own mode and depth.

    Where its metadata stops a picture from being read, it is read without them.

    Raises:
        PhotoProblem: as `open_photo`.
    """
    try:
        return _decode(content, max_pixels, min_side)
    except PhotoProblem:
        raise
    except Exception as error:  # whatever a damaged picture makes the libraries raise
        first = error
    for keep_exif in (True, False):
        plain = without_metadata(content, keep_exif)
        if plain == content:
            continue
        try:
            return _decode(plain, max_pixels, min_side)
        except PhotoProblem:
            raise
        except Exception:
            continue
    if isinstance(first, UnidentifiedImageError):
        raise PhotoProblem(f"is {kind_of(content)}; use {READABLE}") from None
    raise PhotoProblem(f"is damaged or cut off: {_reason(first)}") from None


def _reason(error: Exception) -> str:
    return "not enough memory" if isinstance(error, MemoryError) else f"{error or type(error).__name__}"


def _decode(content: bytes, max_pixels: int, min_side: int) -> Decoded:
    _know_heif()
    with pixel_limit_lifted(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of metadata that are not needed
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            width, height = picture.size
            if width * height > max_pixels:
                raise PhotoProblem(
                    f"is {width}x{height}, more than the limit of {max_pixels:,} pixels", "prepare.max_pixels"
                )
            if min(width, height) < min_side:
                raise PhotoProblem(
                    f"is {width}x{height}; the shorter side must have {min_side} pixels", "prepare.min_side"
                )
            stated = stated_colours(content, picture)
            note = _further_pictures(picture)
            _forget_xmp(picture)  # before a TIFF turns itself
            picture.load()
            if "transparency" in picture.info:
                picture.info["transparency"] = transparent_key(content, picture.info["transparency"])
            if stated.profile:
                picture.info["icc_profile"] = stated.profile
            turned = UPRIGHT.get(_orientation(picture))
            upright = picture.transpose(turned) if turned is not None else picture.copy()
            notes = "; ".join(found for found in (note, stated.note) if found)
            return Decoded(upright, *sample_range(picture), stated.exponent, notes or None)


def _forget_xmp(picture: Image.Image) -> None:
    """Pillow takes an orientation from XMP where EXIF has none; other programs do not turn a picture by it."""
    if [picture.info.pop(name) for name in XMP if name in picture.info]:
        picture._exif = None


def _orientation(picture: Image.Image) -> int:
    _forget_xmp(picture)  # that of a PNG may stand behind its pixels
    try:
        value = picture.getexif().get(ORIENTATION)
    except Exception:  # a damaged EXIF has no orientation
        return 1
    return value if isinstance(value, int) else 1


def _further_pictures(picture: Image.Image) -> str | None:
    """A note where a file is animated; a refusal where its first picture is not the one that counts."""
    if picture.format == "TIFF":
        _refuse_tiff(picture)
    count = getattr(picture, "n_frames", 1)
    if picture.format == "HEIF" and count > 1:
        return f"holds {count} pictures; only its main one is used"
    if picture.format == "MPO" and _has_views(picture):
        return "holds several views (3D or panorama); only its first one is used"
    if picture.format in ("PNG", "WEBP", "AVIF") and count > 1:
        return "is animated; only its first picture is used"
    return None


def _has_views(picture: Image.Image) -> bool:
    """Whether an MPO holds other photos than its first; gain maps and depth maps are of no such type."""
    entries = (picture.mpinfo or {}).get(MP_ENTRIES, [])  # type: ignore[attr-defined]
    return any("Multi-Frame" in str(entry.get("Attribute", {}).get("MPType")) for entry in entries)


def _refuse_tiff(picture: Image.Image) -> None:
    """Refuse a TIFF whose first picture is not the photo: a camera's raw file, or a scan of several pages."""
    tags = picture.tag_v2  # type: ignore[attr-defined]
    if DNG_VERSION in tags or tags.get(PHOTOMETRIC) == SENSOR_PIXELS or tags.get(SUBFILE_TYPE, 0) & 1:
        raise PhotoProblem("is a camera's raw file, whose first picture is a preview; develop it to JPEG or TIFF")
    pages = 0
    for page in range(getattr(picture, "n_frames", 1)):
        picture.seek(page)
        pages += not picture.tag_v2.get(SUBFILE_TYPE, 0) & 1  # type: ignore[attr-defined]
    picture.seek(0)
    if pages > 1:
        raise PhotoProblem(f"holds {pages} pages; save each page as a file of its own")


@contextmanager
def pixel_limit_lifted() -> Iterator[None]:
    """Within it Pillow's own limits on pixels and on a PNG's texts are out of the way of ours, which come earlier."""
    known = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK
    Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = None, MOST_TEXT
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = known


def _know_heif() -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()
