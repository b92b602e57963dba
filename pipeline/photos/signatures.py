"""What a file is that cannot be read as a picture, by its first bytes."""

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"
MOST_JUNK = 1 << 12  # bytes before a picture, within which it is looked for
NO_PICTURE, TEXT = "not a picture that can be read", "not a picture but text"
RAW = "a camera's raw file; develop it to JPEG or TIFF"
PORTABLE = "a portable map (PBM, PGM, PPM, PAM or PFM)"
SVG = "SVG, which has no pixels; export it as PNG"
EPS = "PostScript (EPS)"
MOVIE = "not a picture but a movie"
PAGE = "not a picture but a web page"
ARCHIVE = "not a picture but an archive; unpack it"
KNOWN = (
    (b"GIF8", "GIF"),
    (b"%PDF", "not a picture but a PDF"),
    (b"8BPS", "a Photoshop document"),
    (b"gimp xcf", "a document of GIMP"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\xff\xd8\xff\xf7", "JPEG-LS"),
    (b"II\xbc\x01", "JPEG XR"),
    (b"BPG\xfb", "BPG"),
    (b"FLIF", "FLIF"),
    (b"qoif", "QOI"),
    (b"DDS ", "a texture (DDS)"),
    (b"\xabKTX", "a texture (KTX)"),
    (b"\x00\x00\x01\x00", "an icon (ICO)"),
    (b"\x00\x00\x02\x00", "a cursor (CUR), or a TGA"),
    (b"icns", "an icon (ICNS)"),
    (b"\x01\xda", "SGI"),
    *((bytes([10, version, 1]), "PCX") for version in (0, 2, 3, 4, 5)),
    (b"SIMPLE  =", "FITS"),
    (b"\x76\x2f\x31\x01", "OpenEXR, which is HDR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"#?RGBE", "Radiance HDR"),
    (b"%!PS", EPS),
    (b"\xc5\xd0\xd3\xc6", EPS),
    (b"#define ", "XBM, or source code"),
    (b"/* XPM */", "XPM"),
    (b"PK\x03\x04", ARCHIVE),
    (b"PK\x05\x06", ARCHIVE),
    (b"Rar!", ARCHIVE),
    (b"7z\xbc\xaf\x27\x1c", ARCHIVE),
    (b"\x1f\x8b", ARCHIVE),
    (b"BZh", ARCHIVE),
    (b"\xfd7zXZ", ARCHIVE),
    (b"\x28\xb5\x2f\xfd", ARCHIVE),
    (b"\x1a\x45\xdf\xa3", MOVIE),
    (b"FLV\x01", MOVIE),
    (b"OggS", "not a picture but sound or a movie"),
    (b"ID3", "not a picture but sound"),
    (b"<svg", SVG),
    (b"<?xml", "not a picture but XML"),
    (b"<!doctype html", PAGE),
    (b"<html", PAGE),
    (b"http/1.", "not a picture but the answer of a web server; download it again"),
    (b"data:image/", "not a picture but a data address; save the picture itself"),
    (b"[internetshortcut]", "not a picture but a link to a web page"),
    (b"version https://git-lfs", "not a picture but a pointer of Git LFS (`git lfs pull` fetches the picture)"),
    (b"bplist00", "not a picture but a property list of macOS"),
    (b"L\x00\x00\x00\x01\x14\x02\x00", "not a picture but a shortcut of Windows"),
    (b"\x00\x05\x16\x07", "not a picture but a sidecar of macOS (AppleDouble)"),
    (b"SQLite format 3", "not a picture but a database"),
    (b"\x93NUMPY", "not a picture but an array of NumPy"),
    (b"MZ", "not a picture but a program"),
    (b"\x7fELF", "not a picture but a program"),
    (b"FUJIFILMCCD-RAW", RAW),
    (b"IIRO", RAW),
    (b"IIRS", RAW),
    (b"MMOR", RAW),
    (b"IIU\x00", RAW),
    (b"FOVb", RAW),
    (b"\x00MRM", RAW),
    (b"II\x1a\x00\x00\x00HEAPCCDR", RAW),
)
DAMAGED = {
    b"\xff\xd8": "a damaged JPEG, or one of a rare kind (12 bits, lossless)",
    PNG[:4]: "a damaged PNG",
    b"II*\x00": "a damaged TIFF, or one of a rare kind (such as a camera's raw file)",
    b"MM\x00*": "a damaged TIFF, or one of a rare kind (such as a camera's raw file)",
    b"II+\x00": "a damaged BigTIFF, or one of a rare kind",
    b"BM": "a damaged BMP",
}
RIFF = {b"WEBP": "a damaged WebP", b"AVI ": MOVIE, b"WAVE": "not a picture but sound"}
BRANDS = {
    b"qt  ": MOVIE, b"isom": MOVIE, b"mp41": MOVIE, b"mp42": MOVIE, b"M4V ": MOVIE, b"3gp4": MOVIE, b"3gp5": MOVIE,
    b"avc1": MOVIE, b"crx ": RAW, b"hevc": "a HEIC sequence", b"msf1": "a HEIF sequence",
    b"heic": "a damaged HEIC", b"heix": "a damaged HEIC", b"mif1": "a damaged HEIF", b"avif": "a damaged AVIF",
    b"avis": "a damaged AVIF",
}  # fmt: skip
ELSEWHERE = (
    (8, b"CR\x02", RAW),
    (257, b"ustar", ARCHIVE),
    (128, b"DICM", "DICOM, a picture of medicine"),
    (-18, b"TRUEVISION-XFILE", "TGA"),
)
INSIDE = {JPEG: "a JPEG", PNG: "a PNG"}


def kind_of(content: bytes) -> str:
    """What a file is that cannot be read as a picture, for a sentence that begins with "is"."""
    if not content.strip(b"\0"):
        return "not a picture but zeros; copy it again"
    if any(content.startswith(start) for start in INSIDE):
        return _by_start(content)
    for start, kind in INSIDE.items():
        if (place := content.find(start, 0, MOST_JUNK)) > 0 and not _named(content):
            return f"{kind} with {place} bytes before it that do not belong there; open it elsewhere and save it again"
    return _by_start(content)


def _named(content: bytes) -> bool:
    """Whether the first bytes are those of a kind of file that may hold a picture."""
    return _by_start(content) not in (NO_PICTURE, *DAMAGED.values())


def _by_start(content: bytes) -> str:
    head = content[:64].lstrip(b"\xef\xbb\xbf").lstrip().lower()
    if head.startswith(b"<") and b"<svg" in content[:MOST_JUNK].lower():
        return SVG
    for place, start, kind in ELSEWHERE:
        if content[place : place + len(start)] == start:
            return kind
    for start, kind in (*KNOWN, *DAMAGED.items()):
        if content.startswith(start) or (start.isascii() and head.startswith(start.lower())):
            return kind
    if content[4:8] == b"ftyp":
        return BRANDS.get(content[8:12], "a movie, or a picture of a kind that is not read")
    if content.startswith(b"RIFF"):
        return RIFF.get(content[8:12], "a RIFF file of a kind that is not read")
    portable = content[:1] == b"P" and content[1:2] in b"1234567Ff" and content[2:3].isspace()
    return PORTABLE if portable else TEXT if _is_text(content[:MOST_JUNK]) else NO_PICTURE


def _is_text(start: bytes) -> bool:
    try:
        letters = start.decode("utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8", "strict")
    except UnicodeDecodeError as error:
        if error.start < len(start) - 4:  # else the last letter is cut off
            return False
        letters = start[: error.start].decode("utf-8", "ignore")
    return all(letter.isprintable() or letter in "\t\r\n\f\ufeff" for letter in letters)
