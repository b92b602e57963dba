"""Opening photos from outside: known formats only, limits before decoding, upright, in sRGB, without metadata."""

import io
import warnings
from pathlib import Path

from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "HEIF", "MPO")
READABLE = "JPEG, PNG, WebP or HEIC"


class PhotoProblem(ValueError):
    """Why one file cannot be used; `prepare_photos` collects them."""


def open_photo(path: Path, max_pixels: int, min_side: int) -> Image.Image:
    """Decode a photo: RGB, turned upright by its EXIF orientation, transparency on white, no metadata.

    Raises:
        PhotoProblem: not a picture, another format, too many pixels (read from the header, before decoding),
            too small, or cut off.
    """
    _know_heif()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(path)
    except UnidentifiedImageError:
        raise PhotoProblem(f"is not a picture that can be read; use {READABLE}") from None
    except Image.DecompressionBombError:
        raise PhotoProblem(f"claims more pixels than the limit of {max_pixels:,} (prepare.max_pixels)") from None
    except OSError as error:
        raise PhotoProblem(f"cannot be read: {error}") from None
    with picture:
        width, height = picture.size
        if picture.format not in FORMATS:
            raise PhotoProblem(f"is {picture.format}; use {READABLE}")
        if width * height > max_pixels:
            raise PhotoProblem(
                f"is {width}x{height}, more than the limit of {max_pixels:,} pixels (prepare.max_pixels)"
            )
        if min(width, height) < min_side:
            raise PhotoProblem(f"is {width}x{height}; the shorter side must have {min_side} pixels (prepare.min_side)")
        try:
            picture.load()
            return _clean(ImageOps.exif_transpose(picture))
        except (OSError, SyntaxError, ValueError) as error:
            raise PhotoProblem(f"is damaged or cut off: {error}") from None


def _know_heif() -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()


def _clean(picture: Image.Image) -> Image.Image:
    """RGB in sRGB on white, as a new picture that carries nothing but pixels."""
    profile = picture.info.get("icc_profile")
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        layered = picture.convert("RGBA")
        picture = Image.new("RGBA", layered.size, "white")
        picture.alpha_composite(layered)
    picture = picture.convert("RGB") if not (profile and picture.mode == "CMYK") else picture
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
            picture = converted or picture
        except ImageCms.PyCMSError:
            picture = picture.convert("RGB")  # a profile that does not fit its picture is ignored, as browsers do
    fresh = Image.new("RGB", picture.size)
    fresh.paste(picture)
    return fresh
