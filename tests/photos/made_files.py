"""Small files as cameras, scanners and other programs write them."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

SIDE = 48


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    """The bytes of a picture file."""
    import pillow_heif

    pillow_heif.register_heif_opener()
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def ramp16() -> np.ndarray:
    """16-bit grey values [48, 48] that rise from 0 on the left to 65535 on the right."""
    return np.tile(np.linspace(0, 65535, SIDE).astype(np.uint16), (SIDE, 1))


def ramp() -> Image.Image:
    """The same in 8 bits, as RGB."""
    return Image.fromarray((ramp16() >> 8).astype(np.uint8)).convert("RGB")


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(depth: int, kind: int, rows: list[bytes], *chunks: bytes, side: int = SIDE) -> bytes:
    """A PNG of any depth and colour type, with `chunks` before its pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, len(rows), depth, kind, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + pixels + chunk(b"IEND", b"")


def with_chunk(content: bytes, made: bytes) -> bytes:
    """A PNG with one more chunk after its header."""
    return content[:33] + made + content[33:]


def exif(*tags: tuple[int, int, int, bytes]) -> bytes:
    """A little-endian EXIF block of (tag, type, count, four bytes of value) entries, sound or not."""
    entries = b"".join(struct.pack("<HHI", tag, kind, count) + value for tag, kind, count, value in tags)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + b"\0\0\0\0"


def turned_jpeg(*more: tuple[int, int, int, bytes]) -> bytes:
    """A ramp that a camera saved lying on its side, with orientation 6, and other EXIF entries."""
    block = exif((0x0112, 3, 1, b"\x06\0\0\0"), *more)
    return encoded(ramp().transpose(Image.Transpose.ROTATE_90), "JPEG", exif=block, quality=95)
