"""Digests of every file of a model folder, for what the content digest leaves out.

The content digest decides which models are the same: it covers tensors, and the text of tokenizer and scheduler. A
folder holds more that changes what it draws or that people pass on: configurations, `model_index.json`, adapters,
embeddings. The record keeps a digest of each file. The record itself cannot be among them, and every safetensors file
carries a short record with the record's digest in its header: the digest of such a file therefore leaves that one
header entry out.
"""

import hashlib
import json
from pathlib import Path

from pipeline.base.file_header import METADATA, read_header
from pipeline.files import CHUNK, digest_file
from pipeline.layout import LINEAGE
from pipeline.lineage.header import HEADER_KEY

TENSORS = ".safetensors"


def model_files(model: Path) -> dict[str, str]:
    """sha256 by path of every file below a model folder, in order of path; `lineage.json` itself is left out.

    Raises:
        ValueError: a safetensors file has no readable header.
    """
    files = (path for path in model.rglob("*") if path.is_file() or path.is_symlink())
    names = sorted(path.relative_to(model).as_posix() for path in files)
    return {name: file_digest(model / name) for name in names if name != LINEAGE}


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes; of a safetensors file see `tensors_digest`.

    Raises:
        ValueError: a safetensors file has no readable header.
    """
    return tensors_digest(path) if path.suffix == TENSORS else digest_file(path)


def tensors_digest(path: Path) -> str:
    """sha256 over a safetensors file's header without the short record (JSON, sorted keys, no spaces) and its tensors.

    Names, types, shapes, byte ranges and other metadata count; the header's spacing and order do not.

    Raises:
        ValueError: the file has no readable header.
    """
    with path.open("rb") as file:
        header = read_header(file)
        metadata = header.pop(METADATA, None) or {}
        if not isinstance(metadata, dict):
            raise ValueError(f"{path} is not a safetensors file: its metadata are no table")
        kept = {key: value for key, value in metadata.items() if key != HEADER_KEY}
        text = json.dumps({**header, METADATA: kept}, sort_keys=True, separators=(",", ":"))
        found = hashlib.sha256(text.encode())
        while chunk := file.read(CHUNK):
            found.update(chunk)
    return found.hexdigest()
