"""The header of a safetensors file: metadata in one order, so that equal content gives equal bytes."""

import json
import os
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.files import CHUNK

METADATA = "__metadata__"


def read_header(file: BinaryIO) -> dict[str, Any]:
    """The header of an open safetensors file, which stands at its first tensor afterwards.

    Raises:
        ValueError: the file has no readable header.
    """
    size, length = os.fstat(file.fileno()).st_size, int.from_bytes(file.read(8), "little")
    try:
        if length > size - 8:
            raise ValueError("its header is longer than the file")
        header = json.loads(file.read(length))
        if not isinstance(header, dict):
            raise ValueError("its header is no table")
    except ValueError as error:
        raise ValueError(f"{file.name} is not a safetensors file: {error}") from None
    return header


def set_metadata(path: Path, entries: dict[str, str]) -> None:
    """Set metadata entries in the header of a safetensors file; the tensors' bytes stay as they are.

    The new file is written beside and renamed over the old one.
    """
    with path.open("rb") as old:
        header = read_header(old)
        metadata: dict[str, str] = header.get(METADATA, {})
        if metadata.items() >= entries.items() and list(metadata) == sorted(metadata):
            return
        part = path.with_name(f".{path.name}.part")
        with part.open("wb") as new:
            new.write(_encoded(header, metadata | entries))
            while chunk := old.read(CHUNK):
                new.write(chunk)
            new.flush()
            os.fsync(new.fileno())
    part.replace(path)


def sort_metadata(path: Path) -> None:
    """Bring the metadata of a safetensors file that was just written into alphabetical order, in place.

    The library writes several entries in an order that changes from one call to the next.
    """
    with path.open("r+b") as file:
        header = read_header(file)
        length = file.tell()
        encoded = _encoded(header, header.get(METADATA, {}))
        if len(encoded) == length:
            file.seek(0)
            file.write(encoded)
            return
    set_metadata(path, {})


def _encoded(header: dict[str, Any], metadata: dict[str, str]) -> bytes:
    """Length and text of a header, its metadata sorted and in front."""
    whole = {METADATA: dict(sorted(metadata.items()))} if metadata else {}
    whole |= {name: value for name, value in header.items() if name != METADATA}
    text = json.dumps(whole, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the format wants tensors aligned to eight bytes
    return len(text).to_bytes(8, "little") + text
