"""Picture files as bytes: what a file is that cannot be read, and a picture without its metadata."""

import zlib
from collections.abc import Iterator

PNG = b"\x89PNG\r\n\x1a\n"
PNG_PICTURE = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
COLOUR_CHUNKS = {b"cICP", b"iCCP", b"sRGB", b"gAMA"}
SCREEN_GAMMA, SAME_GAMMA = 45455, 0.05  # 1/2.2 as PNG writes it; what no eye tells apart
FRONT = 1 << 16  # bytes that hold the description of an AVIF
MOST_PROFILE = 16 << 20  # bytes of a colour profile once inflated
KNOWN = (
    (b"GIF8", "GIF"),
    (b"%PDF", "not a picture but a PDF"),
    (b"8BPS", "a Photoshop document"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\x76\x2f\x31\x01", "OpenEXR, which is HDR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"#?RGBE", "Radiance HDR"),
    (b"PK\x03\x04", "not a picture but a ZIP archive"),
    (b"<svg", "SVG"),
    (b"<?xml", "not a picture but XML"),
    (b"<!doctype html", "not a picture but a web page"),
    (b"<html", "not a picture but a web page"),
    (b"version https://git-lfs", "not a picture but a pointer of Git LFS (`git lfs pull` fetches the picture)"),
    (b"\x00\x05\x16\x07", "not a picture but a sidecar of macOS (AppleDouble)"),
    (b"FUJIFILMCCD-RAW", "a camera's raw file"),
    (b"IIRO", "a camera's raw file"),
    (b"IIU\x00", "a camera's raw file"),
)
DAMAGED = {
    b"\xff\xd8": "a damaged JPEG, or one of a rare kind (12 bits, lossless)",
    PNG[:4]: "a damaged PNG",
    b"RIFF": "a damaged WebP, or another RIFF file",
    b"II*\x00": "a damaged TIFF, or one of a rare kind (such as a camera's raw file)",
    b"MM\x00*": "a damaged TIFF, or one of a rare kind (such as a camera's raw file)",
    b"II+\x00": "a damaged BigTIFF, or one of a rare kind",
    b"BM": "a damaged BMP",
}
MOVIE = "not a picture but a movie"
BRANDS = {
    b"qt  ": MOVIE, b"isom": MOVIE, b"mp41": MOVIE, b"mp42": MOVIE, b"crx ": "a camera's raw file",
    b"heic": "a damaged HEIC", b"heix": "a damaged HEIC", b"mif1": "a damaged HEIF", b"avif": "a damaged AVIF",
    b"avis": "a damaged AVIF",
}  # fmt: skip


def kind_of(content: bytes) -> str:
    """What a file is that cannot be read as a picture, for a sentence that begins with "is"."""
    head = content[:64].lstrip(b"\xef\xbb\xbf").lstrip().lower()
    for start, kind in (*KNOWN, *DAMAGED.items()):
        if content.startswith(start) or head.startswith(start.lower()):
            return kind
    if content[4:8] == b"ftyp":
        return BRANDS.get(content[8:12], "a movie, or a picture of a kind that is not read")
    return "not a picture that can be read"


def transparent_key(content: bytes, key: object) -> object:
    """The colour that a PNG calls transparent, in the 8 bits that Pillow makes of 2, 4 or 16; others as they are."""
    if not content.startswith(PNG) or len(content) < 26:
        return key
    depth, kind = content[24], content[25]
    if kind == 0 and depth in (2, 4) and isinstance(key, int):
        return key * 255 // ((1 << depth) - 1)
    if kind == 2 and depth == 16 and isinstance(key, tuple):
        return tuple(value >> 8 for value in key)
    return key


def transfer_of(content: bytes) -> int | None:
    """The transfer characteristics (H.273) that a PNG (`cICP`) or AVIF (`nclx`) names; None where it names none."""
    if content.startswith(PNG):
        return next((chunk[9] for kind, chunk in _png_chunks(content) if kind == b"cICP" and len(chunk) == 16), None)
    if content[4:12] in (b"ftypavif", b"ftypavis"):
        place = content.find(b"colrnclx", 0, FRONT)
        return int.from_bytes(content[place + 10 : place + 12]) if place > 0 else None
    return None


def gamma_of(content: bytes) -> float | None:
    """The exponent that turns a PNG's samples into those of a usual screen, by `gAMA` as browsers do.

    None: the file says nothing, says it in a better way (`cICP`, `iCCP`, `sRGB`), or is for a usual screen.
    """
    if not content.startswith(PNG):
        return None
    chunks = {kind: chunk for kind, chunk in _png_chunks(content) if kind in COLOUR_CHUNKS}
    value = chunks.get(b"gAMA", b"")
    if len(chunks) != 1 or len(value) != 16 or not (stored := int.from_bytes(value[8:12])):
        return None
    exponent = SCREEN_GAMMA / stored
    return exponent if 0.1 < exponent < 10 and abs(exponent - 1) > SAME_GAMMA else None


def without_metadata(content: bytes, keep_exif: bool) -> bytes:
    """The same JPEG or PNG picture without texts, previews and other metadata; other files as they are.

    Colour stays: Adobe's and JFIF's markers, an ICC profile that is sound. EXIF, which may hold the orientation, stays
    where `keep_exif` says so.
    """
    if content.startswith(PNG):
        return PNG + b"".join(chunk for kind, chunk in _png_chunks(content) if _keep_chunk(kind, chunk, keep_exif))
    if content.startswith(b"\xff\xd8"):
        return _plain_jpeg(content, keep_exif)
    return content


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = len(PNG)
    while place + 12 <= len(content):
        end = place + 12 + int.from_bytes(content[place : place + 4])
        yield content[place + 4 : place + 8], content[place:end]
        place = end


def _keep_chunk(kind: bytes, chunk: bytes, keep_exif: bool) -> bool:
    if kind in PNG_PICTURE:
        return True
    if kind not in (b"iCCP", b"eXIf") or zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:]):
        return False
    if kind == b"eXIf":
        return keep_exif
    packed = chunk[8:-4].partition(b"\0")[2][1:]
    try:
        inflater = zlib.decompressobj()
        inflater.decompress(packed, MOST_PROFILE)
        return inflater.eof
    except zlib.error:
        return False


def _plain_jpeg(content: bytes, keep_exif: bool) -> bytes:
    kept = [content[:2]]
    place = 2
    while place + 4 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        end = place + 2 + int.from_bytes(content[place + 2 : place + 4])
        segment = content[place:end]
        if marker == 0xDA:  # the scan: from here on it is picture
            break
        application = 0xE0 <= marker <= 0xEF or marker == 0xFE
        colour = marker in (0xE0, 0xEE) or (marker == 0xE2 and segment[4:15] == b"ICC_PROFILE")
        exif = keep_exif and marker == 0xE1 and segment[4:8] == b"Exif"
        if not application or colour or exif:
            kept.append(segment)
        place = end
    return b"".join([*kept, content[place:]])
