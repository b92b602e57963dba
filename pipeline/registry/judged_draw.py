"""How a registered version was drawn when it was judged last: what drawing with it begins from."""

import json
from collections.abc import Mapping
from typing import Any

DRAW = "draw"  # the tag of a version: JSON


def draw_tag(evaluation: Mapping[str, Any]) -> dict[str, str]:
    """The tag that keeps how the pictures of an evaluation were drawn; {} for one that does not say."""
    return {DRAW: json.dumps(evaluation[DRAW], sort_keys=True)} if DRAW in evaluation else {}


def judged_draw(lineage: Mapping[str, Any], tags: Mapping[str, str] | None) -> dict[str, Any]:
    """The settings of `sample.draw` that a model was judged with.

    A model that was drawn and judged once more with other settings has them in its tags; the record of its training
    has those of that time, and `batch`.
    """
    own = dict(lineage["params"]["sample"]["draw"])
    try:
        told = json.loads((tags or {}).get(DRAW, "{}"))
    except ValueError:  # cut off, or changed by hand
        return own
    return {**own, **told} if isinstance(told, dict) else own
