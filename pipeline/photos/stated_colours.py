"""The colours of a picture that says them in another way than by an ICC profile: H.273 numbers, cHRM, EXIF."""

import struct
from dataclasses import dataclass

from PIL import Image

from pipeline.photos.containers import PNG, png_colour_chunks
from pipeline.photos.matrix_profile import Chromaticities, matrix_profile
from pipeline.photos.problem import PhotoProblem

FRONT = 1 << 16  # bytes that hold the description of an AVIF
HDR = "is an HDR picture (PQ or HLG); export it as SDR, for example as JPEG"
AS_SRGB = "export it in sRGB"
PQ, HLG = 16, 18  # transfer characteristics of HDR pictures
UNSTATED = 2  # primaries, transfer characteristics
SRGB_LIKE = {1, UNSTATED, 6, 13, 14, 15}  # transfer characteristics of stills that are shown like sRGB
GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}  # by transfer characteristics
D65, C = (0.3127, 0.3290), (0.310, 0.316)
SRGB: Chromaticities = (*D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
ADOBE_RGB: Chromaticities = (*D65, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)  # Adobe RGB (1998) Color Image Encoding
ADOBE_GAMMA = 563 / 256
PRIMARIES: dict[int, Chromaticities] = {  # by ITU-T H.273, table 2
    1: SRGB,
    UNSTATED: SRGB,
    4: (*C, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (*D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    8: (*C, 0.681, 0.319, 0.243, 0.692, 0.145, 0.049),
    9: (*D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    22: (*D65, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077),
}
SCREEN_GAMMA, SAME_GAMMA = 45455, 0.05  # 1/2.2 as PNG writes it; what no eye tells apart
SAME_POINT = 0.003  # of x and y, what no eye tells apart
EXIF_IFD, INTEROP_IFD, COLOUR_SPACE, INTEROP_INDEX = 0x8769, 0xA005, 0xA001, 1
ADOBE_SPACE, UNCALIBRATED = 2, 0xFFFF  # of EXIF's ColorSpace
ADOBE_NOTE = "is in Adobe RGB by its EXIF, and was converted to sRGB"
UNKNOWN_NOTE = "says in its EXIF that its colours are not sRGB, but not which they are; read as sRGB"


@dataclass(frozen=True)
class Stated:
    """The ICC profile that says the same (None: sRGB, or that of the file), and what a person should know.

    `exponent` is what turns samples of another gamma into those of a usual screen, where primaries are those of sRGB.
    """

    profile: bytes | None = None
    exponent: float | None = None
    note: str | None = None


def stated_colours(content: bytes, picture: Image.Image) -> Stated:
    """What a file says of its colours beside its ICC profile. A PNG's `cICP` counts above that profile, others below.

    Raises:
        PhotoProblem: it is HDR, or in colours that cannot be converted.
    """
    own = bool(picture.info.get("icc_profile"))
    numbers = _numbers(content, picture)
    if numbers is not None and numbers[1] in (PQ, HLG):
        raise PhotoProblem(HDR)
    if numbers is not None and (picture.format == "PNG" or not own):
        return Stated(_of_numbers(*numbers))
    if own or picture.mode in ("CMYK", "LAB"):
        return Stated()
    if picture.format == "PNG":
        chunks = png_colour_chunks(content)
        if b"sRGB" in chunks or b"iCCP" in chunks:
            return Stated()
        if (profile := _of_chromaticities(chunks)) is not None:
            return Stated(profile)
        if b"gAMA" in chunks:
            return Stated(exponent=_exponent(chunks))
    return _of_exif(picture)


def _numbers(content: bytes, picture: Image.Image) -> tuple[int, int, bool] | None:
    """Colour primaries and transfer characteristics by H.273, and whether samples have the full range."""
    if content.startswith(PNG):
        values = png_colour_chunks(content).get(b"cICP", b"")
        return (values[0], values[1], values[3] != 0) if len(values) == 4 else None
    if picture.format == "HEIF":
        profile = picture.info.get("nclx_profile")
        if isinstance(profile, dict):
            return int(profile["color_primaries"]), int(profile["transfer_characteristics"]), True
        return None
    if content[4:12] in (b"ftypavif", b"ftypavis") and (place := content.find(b"colrnclx", 0, FRONT)) > 0:
        return (*struct.unpack(">HH", content[place + 8 : place + 12]), True)
    return None


def _of_numbers(primaries: int, transfer: int, full_range: bool) -> bytes | None:
    if primaries not in PRIMARIES or transfer not in SRGB_LIKE | GAMMAS.keys():
        raise PhotoProblem(
            f"names colours that are not read (H.273 primaries {primaries}, transfer characteristics {transfer}); "
            + AS_SRGB
        )
    if not full_range:
        raise PhotoProblem(f"has samples in the narrow range of video; {AS_SRGB}")
    gamma = GAMMAS.get(transfer)
    if gamma is None and _same(PRIMARIES[primaries], SRGB):
        return None
    return matrix_profile(PRIMARIES[primaries], gamma)


def _of_chromaticities(chunks: dict[bytes, bytes]) -> bytes | None:
    """The profile that a PNG's `cHRM` means, with the curve of its `gAMA`; None where it is missing, junk or sRGB."""
    values = chunks.get(b"cHRM", b"")
    if len(values) != 32:
        return None
    chromaticities = tuple(value / 100_000 for value in struct.unpack(">8I", values))
    if _same(chromaticities, SRGB):
        return None
    return matrix_profile(chromaticities, exponent * 2.2 if (exponent := _exponent(chunks)) else None)


def _exponent(chunks: dict[bytes, bytes]) -> float | None:
    """The exponent that turns a PNG's samples into those of a usual screen, by `gAMA` as browsers do."""
    value = chunks.get(b"gAMA", b"")
    if len(value) != 4 or not (stored := int.from_bytes(value)):
        return None
    exponent = SCREEN_GAMMA / stored
    return exponent if 0.1 < exponent < 10 and abs(exponent - 1) > SAME_GAMMA else None


def _same(some: Chromaticities, others: Chromaticities) -> bool:
    return all(abs(one - other) <= SAME_POINT for one, other in zip(some, others, strict=True))


def _of_exif(picture: Image.Image) -> Stated:
    """Adobe RGB as DCF 2.0 marks it: an uncalibrated colour space, and the interoperability index R03."""
    try:
        exif = picture.getexif()
        space = exif.get_ifd(EXIF_IFD).get(COLOUR_SPACE)
        index = exif.get_ifd(INTEROP_IFD).get(INTEROP_INDEX)
    except Exception:  # a damaged EXIF says nothing
        return Stated()
    if isinstance(index, bytes):
        index = index.decode("ascii", "replace")
    adobe = isinstance(index, str) and index.strip("\0 ") == "R03"
    if space == ADOBE_SPACE or (space == UNCALIBRATED and adobe):
        return Stated(matrix_profile(ADOBE_RGB, ADOBE_GAMMA), note=ADOBE_NOTE)
    return Stated(note=UNKNOWN_NOTE if space == UNCALIBRATED else None)
