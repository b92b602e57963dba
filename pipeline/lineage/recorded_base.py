"""The base model that a record names."""

from typing import Any

from pipeline.params import Base, parse_params


def recorded_base(lineage: dict[str, Any]) -> Base:
    """The base model of a record, at the commit of the hub that was trained on, even where no revision was asked for.

    Raises:
        ParamsError: the parameters of the record cannot be read.
    """
    base = parse_params(lineage["params"], "the record").base
    revision = lineage["base"].get("revision")
    return base.model_copy(update={"revision": revision}) if revision else base
