"""What a file says of its colours without an ICC profile: taken as it is meant, or refused by name."""

import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from pipeline.photos.matrix_profile import matrix_profile
from pipeline.photos.read import PhotoProblem, ReadPhoto, read_photo
from pipeline.photos.stated_colours import ADOBE_RGB, SRGB
from tests.photos.made_files import SIDE, chunk, encoded, with_chunk

COLOURS = [(200, 90, 120), (120, 150, 90), (90, 90, 180), (255, 255, 255), (0, 0, 0), (128, 128, 128)]
# Light of the space to light of sRGB, from the matrices that the standards print: Adobe RGB (1998) 4.3.5.3 to XYZ, and
# IEC 61966-2-1 from XYZ; of Display P3 and BT.2020 the CSS Color 4 matrices to XYZ.
FROM_XYZ = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])
TO_XYZ = {
    "adobe": [[0.57667, 0.18556, 0.18823], [0.29734, 0.62736, 0.07529], [0.02703, 0.07069, 0.99134]],
    "p3": [[0.48657, 0.26567, 0.19822], [0.22897, 0.69174, 0.07929], [0.0, 0.04511, 1.04394]],
    "2020": [[0.63696, 0.14462, 0.16888], [0.26270, 0.67800, 0.05930], [0.0, 0.02807, 1.06099]],
}
P3 = (0.3127, 0.3290, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)


def painted() -> Image.Image:
    """Stripes of `COLOURS`."""
    return Image.fromarray(np.repeat(np.array([COLOURS], np.uint8), SIDE // len(COLOURS), 1).repeat(SIDE, 0))


def in_srgb(space: str, gamma: float | None) -> np.ndarray:
    """`COLOURS` of another space in sRGB, [6, 3]."""
    samples = np.array(COLOURS) / 255
    curve = np.where(samples <= 0.04045, samples / 12.92, ((samples + 0.055) / 1.055) ** 2.4)
    light = samples**gamma if gamma else curve
    found = np.clip(light @ np.array(TO_XYZ[space]).T @ FROM_XYZ.T, 0, 1)
    return 255 * np.where(found <= 0.0031308, 12.92 * found, 1.055 * found ** (1 / 2.4) - 0.055)


def read(content: bytes) -> ReadPhoto:
    return read_photo(content, 10_000, 16)


def stripes(content: bytes) -> np.ndarray:
    return np.asarray(read(content).picture, np.float64)[SIDE // 2, SIDE // 12 :: SIDE // 6]


def adobe_exif(space: int, index: str) -> bytes:
    made = Image.Exif()
    inner = made.get_ifd(0x8769)
    inner[0xA001], inner[0xA005] = space, {1: index, 2: b"0100"}
    return made.tobytes()


def chrm(*values: float) -> bytes:
    return chunk(b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in values)))


def cicp(*values: int) -> bytes:
    return chunk(b"cICP", bytes(values))


PLAIN = encoded(painted(), "PNG")
LINEAR = chunk(b"gAMA", struct.pack(">I", 100_000))


@pytest.mark.parametrize(("kind", "options"), [("JPEG", {"quality": 100, "subsampling": 0}), ("PNG", {}),
                                               ("WEBP", {"lossless": True})])  # fmt: skip
@pytest.mark.parametrize(("space", "index"), [(0xFFFF, "R03"), (2, "R98")])
def test_adobe_rgb_by_exif_alone_is_converted_with_a_note(kind: str, options, space: int, index: str) -> None:
    content = encoded(painted(), kind, exif=adobe_exif(space, index), **options)
    assert np.abs(stripes(content) - in_srgb("adobe", 563 / 256)).max() <= 3
    assert "Adobe RGB by its EXIF" in str(read(content).note)


def test_exif_that_says_srgb_or_nothing_certain_changes_no_colour() -> None:
    srgb = encoded(painted(), "PNG", exif=adobe_exif(1, "R98"))
    assert np.array_equal(stripes(srgb), COLOURS) and read(srgb).note is None
    unknown = encoded(painted(), "PNG", exif=adobe_exif(0xFFFF, "R98"))
    assert np.array_equal(stripes(unknown), COLOURS) and "not which they are" in str(read(unknown).note)


def test_a_profile_counts_above_exif() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    content = encoded(painted(), "PNG", exif=adobe_exif(0xFFFF, "R03"), icc_profile=profile)
    assert np.abs(stripes(content) - COLOURS).max() <= 1 and read(content).note is None


@pytest.mark.parametrize(
    ("made", "space", "gamma"),
    [
        ([cicp(12, 13, 0, 1)], "p3", None),
        ([cicp(9, 14, 0, 1)], "2020", None),
        ([cicp(9, 1, 0, 1)], "2020", None),
        ([cicp(12, 8, 0, 1)], "p3", 1.0),
        ([cicp(12, 4, 0, 1)], "p3", 2.2),
        ([chrm(*P3)], "p3", None),
        ([chrm(*P3), chunk(b"gAMA", struct.pack(">I", 45455))], "p3", None),
        ([chrm(*P3), LINEAR], "p3", 1.0),
        ([cicp(12, 13, 0, 1), chrm(*SRGB), LINEAR], "p3", None),
    ],
)
def test_colours_that_a_png_names_by_numbers_are_converted(made: list[bytes], space: str, gamma) -> None:
    content = PLAIN
    for one in made:
        content = with_chunk(content, one)
    assert np.abs(stripes(content) - in_srgb(space, gamma)).max() <= 2


DAMAGED = chunk(b"pHYs", b"a")  # Pillow opens no PNG with it


@pytest.mark.parametrize(
    ("made", "space", "gamma"),
    [
        ([cicp(12, 13, 0, 1)], "p3", None),
        ([chrm(*P3)], "p3", None),
        ([chrm(*P3), LINEAR], "p3", 1.0),
    ],
)
def test_damaged_metadata_take_no_colours_away(made: list[bytes], space: str, gamma) -> None:
    content = with_chunk(PLAIN, DAMAGED)
    assert np.array_equal(stripes(content), COLOURS)
    for one in made:
        content = with_chunk(content, one)
    assert np.abs(stripes(content) - in_srgb(space, gamma)).max() <= 2


def test_damaged_metadata_change_neither_gamma_nor_what_is_refused() -> None:
    assert np.array_equal(
        stripes(with_chunk(with_chunk(PLAIN, LINEAR), DAMAGED)), stripes(with_chunk(PLAIN, LINEAR))
    )  # fmt: skip
    srgb = with_chunk(encoded(painted(), "PNG", exif=adobe_exif(2, "R98")), chunk(b"sRGB", b"\0"))
    assert np.array_equal(stripes(with_chunk(srgb, DAMAGED)), COLOURS)
    for transfer in (16, 18):
        with pytest.raises(PhotoProblem, match="is an HDR picture"):
            read(with_chunk(with_chunk(PLAIN, cicp(9, transfer, 0, 1)), DAMAGED))
    for junk in (chunk(b"gAMA", b"a"), chunk(b"cHRM", b"a"), chunk(b"sRGB", b""), chrm(*P3)[:-1] + b"?"):
        assert np.abs(stripes(with_chunk(with_chunk(PLAIN, junk), cicp(12, 13, 0, 1))) - in_srgb("p3", None)).max() <= 2


@pytest.mark.parametrize(
    "made",
    [
        [cicp(1, 13, 0, 1)],
        [cicp(1, 1, 0, 1)],
        [cicp(2, 2, 0, 1)],
        [chrm(*SRGB)],
        [chrm(*[0] * 8)],
        [chrm(*[0.3] * 8)],
        [chrm(0.9, 0.05, *P3[2:])],  # a white outside of its primaries
        [chrm(*P3), chunk(b"sRGB", b"\0")],
        [chrm(*P3)[:-1] + b"?"],  # damaged
    ],
)
def test_colours_of_srgb_and_junk_change_nothing(made: list[bytes]) -> None:
    content = PLAIN
    for one in made:
        content = with_chunk(content, one)
    assert np.array_equal(stripes(content), COLOURS)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (cicp(12, 17, 0, 1), "H.273 primaries 12, transfer characteristics 17"),
        (cicp(10, 13, 0, 1), "H.273 primaries 10"),
        (cicp(1, 13, 0, 0), "narrow range of video"),
    ],
)
def test_colours_that_cannot_be_converted_are_refused_by_name(made: bytes, said: str) -> None:
    with pytest.raises(PhotoProblem, match=said):
        read(with_chunk(PLAIN, made))


def test_avif_and_heic_in_display_p3_by_numbers() -> None:
    avif = encoded(painted(), "AVIF", quality=100, subsampling="4:4:4")
    place = avif.index(b"colrnclx") + 8
    assert np.abs(stripes(avif) - COLOURS).max() <= 3
    avif = avif[:place] + struct.pack(">H", 12) + avif[place + 2 :]
    assert np.abs(stripes(avif) - in_srgb("p3", None)).max() <= 5
    heic = encoded(painted(), "HEIF", quality=100, chroma=444, color_primaries=12)
    assert np.abs(stripes(heic) - in_srgb("p3", None)).max() <= 5


def test_grey_stays_grey_and_a_space_that_is_none_has_no_profile() -> None:
    grey = encoded(painted().convert("L"), "PNG", exif=adobe_exif(0xFFFF, "R03"))
    found = np.asarray(read(grey).picture, np.int16)
    assert np.ptp(found, axis=2).max() <= 1
    assert matrix_profile((0.3,) * 8, None) is None and matrix_profile(ADOBE_RGB, 2.2) is not None


def test_a_heic_of_several_pictures_gives_its_main_one_with_a_note() -> None:
    others = [Image.new("RGB", (SIDE, SIDE), colour) for colour in ("red", "blue")]
    content = encoded(painted(), "HEIF", save_all=True, append_images=others, primary_index=2)
    photo = read(content)
    assert photo.picture.getpixel((5, 5))[2] > 240 and photo.note == "holds 3 pictures; only its main one is used"


def test_the_views_of_a_3d_photo_are_named_and_gain_maps_are_not() -> None:
    content = encoded(painted(), "MPO", save_all=True, append_images=[painted(), painted()])
    assert read(content).note is None
    entry = content.index(b"\x02\xb0\x07\0" if b"\x02\xb0\x07\0" in content else b"\xb0\x02\0\x07")
    header = content.index(b"MPF\0") + 4
    order = "<" if content[header : header + 2] == b"II" else ">"
    (start,) = struct.unpack(order + "I", content[entry + 8 : entry + 12])
    second = header + start + 16
    disparity = struct.pack(order + "I", 0x020002)
    assert "several views" in str(read(content[:second] + disparity + content[second + 4 :]).note)
