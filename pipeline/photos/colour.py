"""Any mode and colour profile to 8-bit sRGB on white, and the alpha channel beside it."""

import io

import numpy as np
from PIL import Image, ImageCms

from pipeline.photos.problem import PhotoProblem

DEPTHS = {"I": "32-bit integer", "F": "floating point"}
OPAQUE = (255, 255)
PROFILE_SPACES = {"GRAY": ("L",), "RGB": ("RGB",), "CMYK": ("CMYK",), "Lab": ("LAB",)}
BITS_PER_SAMPLE, PHOTOMETRIC = 258, 262  # TIFF tags
WHITE_IS_ZERO = 0


def to_srgb(
    picture: Image.Image, largest: int | None = 65535, white_is_zero: bool = False
) -> tuple[Image.Image, Image.Image | None]:
    """RGB in sRGB on white, a new picture that carries nothing but pixels; and its alpha (mode L) where it has one.

    A profile that is damaged, or that is for another kind of pixels, is ignored, as browsers do.

    Raises:
        PhotoProblem: samples of 32 bits or in floating point, which need a decision on what is white; or a picture
            that is transparent all over.
    """
    profile, space = _profile(picture)
    picture, alpha = flatten(eight_bits(picture, largest, white_is_zero))
    if picture.mode not in PROFILE_SPACES.get(space, ()):
        if picture.mode != "LAB":
            picture = picture.convert("RGB")
        space = space if space == "RGB" else ""
    if picture.mode == "LAB" and not space:
        profile, space = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")), "Lab"
    if profile and space:
        try:
            converted = ImageCms.profileToProfile(picture, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
            picture = converted or picture
        except (ImageCms.PyCMSError, OSError, ValueError):
            if picture.mode == "LAB":
                raise PhotoProblem("is in Lab colours that cannot be converted; save it as RGB") from None
    fresh = Image.new("RGB", picture.size)
    fresh.paste(picture.convert("RGB"))
    return fresh, alpha


def flatten(picture: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """A picture of 8 bits on white, in mode L, RGB, CMYK or LAB, and its alpha (mode L) where that is not opaque."""
    if picture.mode in ("La", "RGBa"):
        picture = picture.convert({"La": "LA", "RGBa": "RGBA"}[picture.mode])
    if picture.mode not in ("RGBA", "LA", "PA") and "transparency" not in picture.info:
        kept = {"1": "L", "L": "L", "CMYK": "CMYK", "LAB": "LAB"}
        return picture.convert(kept.get(picture.mode, "RGB")), None
    grey = picture.mode in ("1", "L", "LA")
    layered = picture.convert("RGBA")
    alpha = layered.getchannel("A")
    flat = Image.new("RGBA", layered.size, "white")
    flat.alpha_composite(layered)
    return flat.convert("L" if grey else "RGB"), None if alpha.getextrema() == OPAQUE else alpha


def sample_range(picture: Image.Image) -> tuple[int | None, bool]:
    """The largest value that a sample can have (None: unknown), and whether 0 is white, of an opened file."""
    tags = getattr(picture, "tag_v2", {})
    if picture.mode == "I":
        return (65535 if picture.format == "PNG" else None), False
    bits = tags.get(BITS_PER_SAMPLE, (16,))
    return (1 << (bits[0] if isinstance(bits, tuple) else bits)) - 1, tags.get(PHOTOMETRIC) == WHITE_IS_ZERO


def eight_bits(picture: Image.Image, largest: int | None, white_is_zero: bool) -> Image.Image:
    """A grey picture of 10 to 16 bits as one of 8: `largest` becomes 255; other pictures as they are."""
    if picture.mode == "F" or (picture.mode == "I" and largest is None):
        raise PhotoProblem(f"has {DEPTHS[picture.mode]} samples; save it with 8 or 16 bits a channel")
    if not picture.mode.startswith("I") or largest is None:
        return picture
    values = np.asarray(picture).astype(np.int64)
    grey = np.clip((values * 255 + largest // 2) // largest, 0, 255).astype(np.uint8)
    made = Image.fromarray(255 - grey if white_is_zero else grey)
    key = picture.info.get("transparency")
    if isinstance(key, int):
        made.putalpha(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
    made.info = {name: value for name, value in picture.info.items() if name == "icc_profile"}
    return made


def _profile(picture: Image.Image) -> tuple[ImageCms.ImageCmsProfile | None, str]:
    """The picture's colour profile and what kind of pixels it is for; (None, "") where it is missing or damaged."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(picture.info["icc_profile"]))
        return profile, profile.profile.xcolor_space.strip()  # junk that is no ASCII ends in UnicodeDecodeError
    except (KeyError, TypeError, OSError, ValueError, ImageCms.PyCMSError):
        return None, ""
