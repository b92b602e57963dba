"""Which pictures of the photos models were judged on: what `prepare` made of them."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from pipeline.files import digest_value


def prepared_digest(files: Iterable[Path]) -> str:
    """Digest of the pixels of prepared pictures, whatever their order, their names and how their files are packed."""
    return digest_value(sorted(map(_pixels, files)))


def _pixels(file: Path) -> str:
    with Image.open(file) as opened:
        picture = opened.convert("RGB")
    return hashlib.sha256(f"{picture.size}".encode() + picture.tobytes()).hexdigest()
