"""Picture files as bytes: the chunks and segments that Pillow does not tell of, and a picture without metadata."""

import zlib
from collections.abc import Iterator

PNG = b"\x89PNG\r\n\x1a\n"
PNG_PICTURE = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
COLOUR_LENGTHS = {b"cICP": 4, b"sRGB": 1, b"gAMA": 4, b"cHRM": 32}  # bytes
COLOUR_CHUNKS = {b"iCCP", *COLOUR_LENGTHS}
MOST_PROFILE = 16 << 20  # bytes of a colour profile once inflated


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


def png_colour_chunks(content: bytes) -> dict[bytes, bytes]:
    """The contents of a PNG's chunks that say what its samples mean, those that are damaged left out."""
    return {
        kind: chunk[8:-4]
        for kind, chunk in _png_chunks(content)
        if kind in COLOUR_CHUNKS and zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:])
    }


def without_metadata(content: bytes, keep_exif: bool) -> bytes:
    """The same JPEG or PNG picture without texts, previews and other metadata; other files as they are.

    Colour stays: Adobe's and JFIF's markers, an ICC profile and a PNG's other chunks on colours that are sound. EXIF,
    which may hold the orientation, stays where `keep_exif` says so.
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
    if kind not in COLOUR_CHUNKS | {b"eXIf"} or zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:]):
        return False
    if kind == b"eXIf":
        return keep_exif
    return _is_profile(chunk[8:-4]) if kind == b"iCCP" else len(chunk) - 12 == COLOUR_LENGTHS[kind]


def _is_profile(content: bytes) -> bool:
    """Whether the content of an `iCCP` can be inflated."""
    try:
        inflater = zlib.decompressobj()
        inflater.decompress(content.partition(b"\0")[2][1:], MOST_PROFILE)
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
