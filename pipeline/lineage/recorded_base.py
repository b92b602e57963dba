"""The base model that a record names."""

from typing import Any

from pipeline.base.resolve import EMBEDDED
from pipeline.params import Base, parse_base


def recorded_base(lineage: dict[str, Any]) -> Base:
    """The base model of a record, at the commit of the hub that was trained on, even where no revision was asked for.

    Raises:
        ParamsError: the section `base` of its parameters cannot be read; the others do not matter.
    """
    base = parse_base(lineage["params"], "the record")
    revision = lineage["base"].get("revision")
    return base.model_copy(update={"revision": revision}) if revision else base


def is_folder(base: dict[str, Any]) -> bool:
    """Whether a record's base is a folder of the machine that it was trained on: neither embedded nor on the hub."""
    name = str(base["model"])
    looks = name.startswith(("/", ".", "~")) or "\\" in name
    return looks or ("/" in name and name not in EMBEDDED and not base.get("revision"))


def base_name(base: dict[str, Any]) -> str:
    """The name of a record's base for other people: of a folder, the last part of its path."""
    name = str(base["model"]).rstrip("/\\")
    return name.replace("\\", "/").rpartition("/")[2] if is_folder(base) else name
