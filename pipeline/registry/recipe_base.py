"""What a registered model is drawn along with, where its recipe asks for that: its base, and the CLIP of its record."""

from pathlib import Path
from typing import Any

from pipeline.base.judges import resolve_scorer
from pipeline.base.resolve import BaseNotFound, ResolvedBase, resolve_base
from pipeline.lineage.recorded_base import recorded_base
from pipeline.params import parse_recorded


def base_of(lineage: dict[str, Any], title: str) -> ResolvedBase:
    """The base that a model was trained from, for recipes that draw with it.

    Raises:
        BaseNotFound: it is not available, or another one than was trained on.
    """
    base = resolve_base(recorded_base(lineage), recorded=True)
    if base.digest != lineage["base"]["digest"]:
        raise BaseNotFound(
            f"the recipe needs the base that {title} was trained from (digest {lineage['base']['digest'][:16]}), but "
            f"base.model '{base.model}' has {base.digest[:16]} now"
        )
    return base


def recorded_scorer(lineage: dict[str, Any]) -> Path:
    """The folder of the CLIP that a record names as its scorer, as it is now.

    Raises:
        BaseNotFound: it is not available.
    """
    return resolve_scorer(parse_recorded(lineage["params"], "the record").evaluate, recorded_base(lineage))
