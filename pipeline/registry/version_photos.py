"""The photos that a registered version was trained on, from its tag or its record."""

import json
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.files import scratch_folder
from pipeline.lineage.tags import PHOTOS
from pipeline.registry.lookup import version_record


class PhotosUnknown(UserError):
    """Neither the tag nor the record of a version says which photos it was trained on.

    `lasting` is False where another try may succeed: its record could not be fetched.
    """

    def __init__(self, message: str, lasting: bool):
        super().__init__(message)
        self.lasting = lasting


def version_photos(version: Any) -> list[dict[str, Any]]:
    """`sha256` and `phash` (16 hexadecimal digits, or None) of each photo of an MLflow model version.

    Raises:
        PhotosUnknown: nothing says which they were.
    """
    tag = version.tags.get(PHOTOS)
    try:
        rows = json.loads(tag) if tag is not None else _recorded(version)
        return [
            {"sha256": _hex(sha256, 64), "phash": None if phash is None else _hex(phash, 16)} for sha256, phash in rows
        ]
    except UserError as error:
        raise PhotosUnknown(str(error), lasting=False) from None
    except (ValueError, TypeError):
        raise PhotosUnknown(f"its tag '{PHOTOS}' cannot be read", lasting=True) from None


def _recorded(version: Any) -> list[tuple[str, str | None]]:
    """From the record, of a version that was registered without the tag or has more photos than it takes."""
    with scratch_folder() as folder:
        lineage = version_record(version, Path(folder))
        return [(photo["sha256"], photo.get("phash")) for photo in lineage["photos"]["files"]]


def _hex(text: Any, length: int) -> str:
    if not isinstance(text, str) or len(text) != length:
        raise ValueError(text)
    int(text, 16)
    return text
