"""Pictures of every mode, depth and container: taken as they look, or refused by what they are."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from pipeline.photos.read import PhotoProblem, open_photo, read_photo
from tests.photos.made_files import SIDE, chunk, encoded, exif, png, ramp, ramp16, turned_jpeg, with_chunk


def read(content: bytes, max_pixels: int = 300_000_000) -> np.ndarray:
    return np.asarray(read_photo(content, max_pixels, 16).picture, np.int16)


def problem(content: bytes) -> str:
    with pytest.raises(PhotoProblem) as caught:
        read_photo(content, 300_000_000, 16)
    return str(caught.value)


def is_ramp(content: bytes, tolerance: int = 8) -> bool:
    return bool(np.abs(read(content) - np.asarray(ramp(), np.int16)).max() <= tolerance)


GREY16 = Image.fromarray(ramp16())
OPAQUE16 = np.full_like(ramp16(), 65535)
RGBA16 = [row.tobytes() for row in np.stack([*[ramp16()] * 3, OPAQUE16], 2).astype(">u2")]
RGB16 = [row.tobytes() for row in np.stack([ramp16()] * 3, 2).astype(">u2")]


def lab() -> Image.Image:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    found = ImageCms.profileToProfile(ramp(), *profiles, outputMode="LAB")
    assert found is not None
    return found


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(encoded(GREY16, "PNG"), id="16-bit grey PNG"),
        pytest.param(encoded(GREY16, "TIFF"), id="16-bit grey TIFF"),
        pytest.param(png(16, 2, RGB16), id="16-bit RGB PNG"),
        pytest.param(png(16, 6, RGBA16), id="16-bit RGBA PNG"),
        pytest.param(encoded(ramp().quantize(64), "PNG"), id="palette PNG"),
        *(pytest.param(encoded(ramp().convert(mode), kind), id=f"{mode} {kind}") for mode, kind in [
            ("L", "JPEG"), ("CMYK", "JPEG"), ("YCbCr", "JPEG"), ("L", "PNG"), ("LA", "PNG"), ("RGBA", "PNG"),
            ("L", "TIFF"), ("CMYK", "TIFF"), ("YCbCr", "TIFF"), ("RGBA", "TIFF"), ("RGB", "BMP"), ("L", "BMP"),
            ("RGB", "WEBP"), ("RGBA", "WEBP"), ("RGB", "HEIF"), ("RGBA", "HEIF"), ("RGB", "AVIF"),
        ]),
        pytest.param(encoded(lab(), "TIFF"), id="Lab TIFF"),
        pytest.param(encoded(ramp().convert("L").convert("PA"), "TIFF"), id="palette with alpha TIFF"),
        pytest.param(encoded(ramp(), "JPEG", progressive=True), id="progressive JPEG"),
        pytest.param(encoded(ramp(), "MPO", save_all=True, append_images=[ramp().rotate(90)]), id="MPO"),
        pytest.param(encoded(ramp(), "TIFF", compression="tiff_lzw"), id="LZW TIFF"),
        pytest.param(encoded(ramp(), "JPEG") + b"\0" * 999, id="bytes after the JPEG"),
    ],
)  # fmt: skip
def test_a_picture_looks_as_it_was_saved(content: bytes) -> None:
    assert is_ramp(content)


def test_12_bits_in_a_tiff_and_white_as_zero() -> None:
    twelve = encoded(Image.fromarray(ramp16() >> 4), "TIFF")
    at = twelve.index(struct.pack("<HHI", 258, 3, 1)) + 8
    # Two samples of 12 bits lie in three bytes; Pillow writes none, so that its file is given other pixels.
    values = (ramp16() >> 4).astype(np.uint32).reshape(-1, 2)
    packed = np.stack([values[:, 0] >> 4, (values[:, 0] & 15) << 4 | values[:, 1] >> 8, values[:, 1] & 255], 1)
    pixels = packed.astype(np.uint8).tobytes()
    start = twelve.index(struct.pack("<HHI", 273, 4, 1)) + 8
    count = twelve.index(struct.pack("<HHI", 279, 4, 1)) + 8
    made = bytearray(twelve)
    made[at : at + 2] = struct.pack("<H", 12)
    made[start : start + 4] = struct.pack("<I", len(twelve))
    made[count : count + 4] = struct.pack("<I", len(pixels))
    assert is_ramp(bytes(made) + pixels)
    inverted = encoded(GREY16, "TIFF", tiffinfo={262: 0})
    assert np.abs(255 - read(inverted) - np.asarray(ramp(), np.int16)).max() <= 8


@pytest.mark.parametrize(
    ("stored", "others", "exponent"),
    [
        (100000, (), 0.45455),  # linear light, as renderers write it
        (45455, (), 1),
        (100000, ((b"sRGB", bytes([0])),), 1),
        (100000, ((b"cICP", bytes([1, 13, 0, 1])),), 1),
        (0, (), 1),
    ],
)
def test_the_gamma_of_a_png_counts_as_in_browsers(stored: int, others, exponent: float) -> None:
    made = encoded(ramp(), "PNG")
    for kind, content in ((b"gAMA", struct.pack(">I", stored)), *others):
        made = with_chunk(made, chunk(kind, content))
    wanted = 255 * (np.asarray(ramp().convert("RGB"), np.float64) / 255) ** exponent
    assert np.abs(read(made) - wanted).max() <= 1


AVIF = encoded(ramp().convert("RGB"), "AVIF")
NCLX = AVIF[AVIF.index(b"colrnclx") :][:12]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (encoded(Image.new("F", (SIDE, SIDE)), "TIFF"), "floating point samples"),
        (encoded(Image.new("I", (SIDE, SIDE)), "TIFF"), "32-bit integer samples"),
        (encoded(ramp(), "TIFF", save_all=True, append_images=[ramp(), ramp()]), "holds 3 pages"),
        (encoded(ramp(), "TIFF", tiffinfo={254: 1}), "a camera's raw file"),
        (encoded(ramp(), "GIF"), "is GIF; use JPEG"),
        (encoded(ramp(), "JPEG2000"), "is JPEG 2000"),
        (encoded(Image.new("RGBA", (SIDE, SIDE), (9, 9, 9, 0)), "PNG"), "transparent all over"),
        (with_chunk(encoded(ramp(), "PNG"), chunk(b"cICP", bytes([9, 16, 0, 1]))), "HDR picture (PQ or HLG)"),
        (with_chunk(encoded(ramp(), "PNG"), chunk(b"cICP", bytes([9, 18, 0, 1]))), "HDR picture (PQ or HLG)"),
        (AVIF.replace(NCLX, NCLX[:10] + bytes([0, 16])), "HDR picture (PQ or HLG)"),
        (b"%PDF-1.7", "not a picture but a PDF"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        (b"\0\0\0\x18ftypqt  \0\0\0\0", "a movie"),
        (b"#?RADIANCE\n", "HDR"),
        *((encoded(ramp().convert(mode), kind), said) for kind, mode, said in (
            ("PPM", "RGB", "a portable map"), ("TGA", "RGB", "TGA"), ("ICO", "RGB", "an icon"), ("PCX", "RGB", "PCX"),
            ("SGI", "RGB", "SGI"), ("DDS", "RGB", "a texture"), ("EPS", "RGB", "PostScript"), ("XBM", "1", "XBM"),
        )),
        (b"qoif" + bytes(99), "is QOI"),
        (b"8BPS\0\x01" + bytes(99), "a Photoshop document"),
        (b"\xff\x0a" + bytes(99), "is JPEG XL"),
        (b"<!-- made by hand --><svg/>", "is SVG"),
        (b"<?xml version='1.0'?>\n<svg/>", "is SVG"),
        (b"II*\0\x10\0\0\0CR\x02\0" + bytes(99), "a camera's raw file; develop it"),
        (b"\0MRM" + bytes(99), "a camera's raw file; develop it"),
        (b"RIFF\0\0\0\0AVI LIST" + bytes(99), "a movie"),
        (b"\x1f\x8b\x08" + bytes(99), "an archive"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + encoded(ramp(), "JPEG"), "the answer of a web server"),
        (bytes(5000), "zeros"),
        ("hello".encode("utf-16"), "not a picture but text"),
        ('{"ä": 1}'.encode() * 999, "not a picture but text"),
        (b"junk" + encoded(ramp(), "JPEG"), "a JPEG with 4 bytes before it that do not belong there"),
        (b"\r\n" + encoded(ramp(), "PNG"), "a PNG with 2 bytes before it"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\xff\xd8\xff\xc3\0\x0b\x0c\0\x30\0\x30\x01\x01\x11\0", "a damaged JPEG, or one of a rare kind (12 bits"),
        (encoded(ramp(), "JPEG")[:400], "damaged or cut off"),
        (encoded(ramp(), "PNG")[:90], "damaged or cut off"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named(content: bytes, said: str) -> None:
    assert said in problem(content)


def test_an_empty_file_and_one_that_nobody_may_read(tmp_path, monkeypatch) -> None:
    path = tmp_path / "a.jpg"
    path.touch()
    with pytest.raises(PhotoProblem, match=r"is empty \(0 bytes\)"):
        open_photo(path, 10_000, 16)
    path.write_bytes(encoded(ramp(), "JPEG"))

    def denied(self) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(type(path), "read_bytes", denied)
    with pytest.raises(PhotoProblem, match="cannot be read: Permission denied"):
        open_photo(path, 10_000, 16)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "AVIF"])
def test_an_animation_gives_its_first_picture_and_a_note(kind: str) -> None:
    others = [Image.new("RGB", (SIDE, SIDE), colour) for colour in ("red", "blue")]
    content = encoded(ramp(), kind, save_all=True, append_images=others, duration=50)
    assert is_ramp(content)
    assert "is animated" in str(read_photo(content, 10_000, 16).note)
    assert read_photo(encoded(ramp(), kind), 10_000, 16).note is None


def square(mode: str) -> Image.Image:
    """A red square, transparent on the left half."""
    picture = Image.new("RGBA", (SIDE, SIDE), (200, 0, 0, 255))
    picture.paste((0, 200, 0, 0), (0, 0, SIDE // 2, SIDE))
    return picture.convert(mode)


HALVES = {
    4: [b"\xff" * (SIDE // 4) + b"\x33" * (SIDE // 4)] * SIDE,
    16: [b"\x12\x34" * 3 * (SIDE // 2) + b"\0\0" * 3 * (SIDE // 2)] * SIDE,
}
KEYED16 = Image.fromarray(np.where(ramp16() < 32768, 0, 50000).astype(np.uint16))
KEYED = ramp().convert("L").point(lambda value: 0 if value < 128 else 200)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(encoded(square("RGBA"), "PNG"), id="RGBA PNG"),
        pytest.param(encoded(square("LA"), "PNG"), id="LA PNG"),
        pytest.param(encoded(square("RGBA"), "WEBP", lossless=True), id="lossless WebP"),
        pytest.param(encoded(square("RGBA"), "HEIF", quality=100), id="HEIC"),
        pytest.param(encoded(square("RGBA"), "AVIF", quality=100), id="AVIF"),
        pytest.param(encoded(square("RGBA"), "TIFF"), id="TIFF"),
        pytest.param(encoded(KEYED, "PNG", transparency=0), id="grey key"),
        pytest.param(encoded(KEYED.convert("RGB"), "PNG", transparency=(0, 0, 0)), id="RGB key"),
        pytest.param(encoded(KEYED.convert("P"), "PNG", transparency=0), id="palette index"),
        pytest.param(encoded(KEYED.convert("P"), "PNG", transparency=bytes([0] + [255] * 255)), id="palette alphas"),
        pytest.param(encoded(KEYED16, "PNG", transparency=0), id="16-bit grey key"),
        pytest.param(png(4, 0, HALVES[4], chunk(b"tRNS", b"\0\x0f")), id="4-bit grey key"),
        pytest.param(png(16, 2, HALVES[16], chunk(b"tRNS", b"\x12\x34" * 3)), id="16-bit RGB key"),
    ],
)  # fmt: skip
def test_transparency_becomes_white_and_an_alpha_channel(content: bytes) -> None:
    found = read_photo(content, 10_000, 16)
    assert np.asarray(found.picture)[:, : SIDE // 2 - 2].min() >= 250
    assert found.alpha is not None
    alpha = np.asarray(found.alpha)
    assert alpha[:, : SIDE // 2 - 2].max() < 10 and alpha[:, SIDE // 2 + 2 :].min() > 245


def test_an_opaque_alpha_channel_is_none() -> None:
    assert read_photo(encoded(ramp().convert("RGBA"), "PNG"), 10_000, 16).alpha is None


@pytest.mark.parametrize(
    "entry",
    [
        (0x011A, 5, 1, b"\x00\0\0\xf0"),  # a rational beyond the end
        (0x8769, 4, 1, b"\xff\xff\xff\x7f"),  # the EXIF directory nowhere
        (0x8825, 4, 1, b"\x08\0\0\0"),  # the GPS directory is this one
        (0x010F, 2, 99, b"\xff\xff\0\0"),  # a text beyond the end
        (0x9286, 7, 0, b"\0\0\0\0"),
        (0x0128, 99, 1, b"\0\0\0\0"),  # a type that there is not
        (0xFFFF, 12, 1, b"\xff\xff\xff\xff"),
    ],
)  # fmt: skip
def test_damaged_exif_turns_the_picture_upright_all_the_same(entry: tuple[int, int, int, bytes]) -> None:
    assert is_ramp(turned_jpeg(entry), 16)


@pytest.mark.parametrize(
    "value", [(0x0112, 2, 2, b"6\0\0\0"), (0x0112, 5, 1, b"\0\0\0\0"), (0x0112, 3, 1, b"\x2a\0\0\0")]
)
def test_an_orientation_that_means_nothing_is_none(value: tuple[int, int, int, bytes]) -> None:
    assert is_ramp(encoded(ramp(), "JPEG", exif=exif(value)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_an_orientation_in_xmp_turns_nothing(kind: str) -> None:
    xmp = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp)
    options = {"PNG": {"pnginfo": info}, "TIFF": {"tiffinfo": {700: xmp.encode()}}}.get(kind, {"xmp": xmp.encode()})
    content = encoded(ramp(), kind, **options)
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.getexif()[0x0112] == 6
    assert is_ramp(content, 16)


PLAIN = encoded(ramp(), "PNG")
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
NO_COLOURS = SRGB[:16] + b"\x80" + SRGB[17:]  # the name of its colour space is no ASCII


def texts(count: int, size: int) -> bytes:
    info = PngImagePlugin.PngInfo()
    for index in range(count):
        info.add_itxt(f"workflow{index}", "x" * size, zip=True)
    return encoded(ramp(), "PNG", pnginfo=info)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(texts(1, 2 << 20), id="2 MiB of text"),
        pytest.param(texts(1, 40 << 20), id="40 MiB of text"),
        pytest.param(texts(9, 9 << 20), id="81 MiB of text"),
        *(pytest.param(with_chunk(PLAIN, made), id=repr(made[4:20])) for made in (
            chunk(b"tEXt", b"a\0b")[:-1] + b"?", chunk(b"iTXt", b"junk"),
            chunk(b"zTXt", b"k\0\x09x"), chunk(b"zTXt", b"k\0\0x"),
            chunk(b"pHYs", b"a"), chunk(b"gAMA", b"a"), chunk(b"cHRM", b"a"), chunk(b"sRGB", b""), chunk(b"acTL", b""),
            chunk(b"eXIf", b"junk"), chunk(b"iCCP", b""), chunk(b"iCCP", b"k\0\0" + zlib.compress(b"j" * 160)),
            chunk(b"iCCP", b"k\0\0notzlib"), chunk(b"iCCP", b"k\0\0" + zlib.compress(b"j" * (30 << 20))),
        )),
        *(pytest.param(encoded(ramp(), kind, icc_profile=made), id=f"{kind} {name}")
          for kind in ("JPEG", "PNG", "TIFF", "WEBP", "HEIF", "AVIF")
          for name, made in (("junk", b"x" * 160), ("cut off", SRGB[:300]), ("odd", NO_COLOURS), ("sound", SRGB))),
        pytest.param(encoded(ramp().convert("CMYK"), "JPEG", icc_profile=SRGB), id="RGB profile on CMYK"),
        pytest.param(encoded(ramp().convert("L"), "JPEG", icc_profile=SRGB), id="RGB profile on grey"),
        pytest.param(b"\xff\xd8\xff\xe2\0\x10MPF\0II*\0" + b"\xff" * 6 + encoded(ramp(), "JPEG")[2:], id="junk MPF"),
    ],
)  # fmt: skip
def test_metadata_never_stop_a_sound_picture(content: bytes) -> None:
    assert is_ramp(content)


def light_is_grey() -> bytes:
    """A grey profile whose values are light itself."""
    header = bytearray(SRGB[:128])
    header[16:20] = b"GRAY"
    curve = b"curv\0\0\0\0\0\0\0\x01\x01\0\0\0"  # gamma 1
    white = b"XYZ \0\0\0\0" + struct.pack(">iii", 63190, 65536, 54061)
    text = b"desc" + b"\0" * 12 + b"\0" * 80
    tags, offset, body = [], 128 + 4 + 3 * 12, b""
    for name, content in ((b"kTRC", curve), (b"wtpt", white), (b"desc", text)):
        tags.append(name + struct.pack(">II", offset + len(body), len(content)))
        body += content
    profile = bytearray(bytes(header) + struct.pack(">I", 3) + b"".join(tags) + body)
    profile[0:4] = struct.pack(">I", len(profile))
    return bytes(profile)


@pytest.mark.parametrize(("mode", "options"), [("L", {}), ("LA", {}), ("L", {"transparency": 9}),
                                               ("I;16", {}), ("I;16", {"transparency": 9})])  # fmt: skip
def test_a_grey_profile_is_applied_whether_there_is_transparency_or_not(mode: str, options: dict) -> None:
    grey = Image.new("L", (SIDE, SIDE), 55)  # a light of 0.216, which sRGB writes as 128
    deep = Image.fromarray(np.full((SIDE, SIDE), 55 * 257, np.uint16))
    linear = deep if mode == "I;16" else grey.convert(mode)
    if mode == "LA":
        linear.putpixel((5, 5), (55, 0))
    found = read(encoded(linear, "PNG", icc_profile=light_is_grey(), **options))
    assert np.abs(found[0, 0] - 128).max() <= 3
    assert mode != "LA" or found[5, 5].tolist() == [255] * 3


def test_the_limit_on_pixels_is_ours_and_not_the_library_s(monkeypatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert is_ramp(PLAIN)
    assert Image.MAX_IMAGE_PIXELS == 100
    with pytest.raises(PhotoProblem, match="48x48, more than the limit of 2,303 pixels"):
        read_photo(PLAIN, SIDE * SIDE - 1, 16)


def test_a_decoder_that_runs_out_of_memory_is_a_problem(monkeypatch) -> None:
    def load(self) -> None:
        raise MemoryError

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", load)
    assert "not enough memory" in problem(PLAIN)
