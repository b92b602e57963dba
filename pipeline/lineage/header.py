"""The short record in the header of a safetensors file."""

import json
from pathlib import Path
from typing import Any

from pipeline.base import file_header
from pipeline.base.learned import learned_files, read_learned
from pipeline.files import digest_value
from pipeline.lineage.read import FORMAT, LineageError
from pipeline.lineage.recorded_base import base_name

HEADER_KEY = "dreamtrace"


def short_record(lineage: dict[str, Any]) -> dict[str, Any]:
    """What the header of every file with learned weights says: where the record is, and what it is about.

    Files are handed on: of a base that is a folder of this machine it has the last part of the path.
    """
    return {
        "format": FORMAT,
        "record_digest": training_digest(lineage),
        "content_digest": lineage["weights"]["content_digest"],
        "run_id": lineage["training"].get("run_id"),
        "base": {**lineage["base"], "model": base_name(lineage["base"])},
        "photos_dvc_md5": lineage["photos"]["dvc_md5"],
        "params_digest": lineage["params_digest"],
        "commit": lineage["code"]["commit"],
    }


def training_digest(lineage: dict[str, Any]) -> str:
    """Digest of the record but for the selection, so that selecting the last step changes none of its files."""
    return digest_value({key: value for key, value in lineage.items() if key != "selection"})


def read_header(path: Path) -> dict[str, Any]:
    """The short record in a safetensors file.

    Raises:
        LineageError: not a safetensors file, or one without a record.
    """
    try:
        with path.open("rb") as file:
            metadata = file_header.read_header(file).get(file_header.METADATA) or {}
    except ValueError as error:
        raise LineageError(str(error)) from None
    return _record(path, metadata.get(HEADER_KEY) if isinstance(metadata, dict) else None, "its header")


def read_model_header(model: Path) -> dict[str, Any]:
    """The short record that the files of a model folder with learned weights carry.

    Raises:
        LineageError: the folder holds no such file, or one without a record.
    """
    learned = read_learned(model) is not None
    files = learned_files(model) if learned else sorted((model / "unet").glob("*.safetensors"))
    if not files:
        raise LineageError(f"{model} holds no learned .safetensors file: it is not a whole model folder")
    return read_header(files[0])


def _record(path: Path, text: Any, where: str) -> dict[str, Any]:
    if text is None:
        raise LineageError(
            f"{path} carries no record in {where}: it was not made by dreamtrace, or another program saved it again"
        )
    try:
        found = json.loads(text)
    except (TypeError, ValueError):
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("content_digest"), str):
        raise LineageError(f"the record in {where} of {path} cannot be read: {str(text)[:80]!r}")
    return found
