"""The interval of a recorded figure, in words."""

from collections.abc import Mapping
from typing import Any

NOT_KNOWN = "no interval known"


def interval_words(row: Mapping[str, Any], digits: int = 4) -> str:
    """'0.4000 to 0.6000' for the bounds of a gate or a row of the metrics; '' where there are none.

    Evaluations of older versions gave shares of which all pictures are hits, or none, bounds of no width, as if they
    were certain: such bounds are not shown.
    """
    low, high = row["low"], row["high"]
    if low is None or high is None:
        return ""
    return f"{low:.{digits}f} to {high:.{digits}f}" if low < high else NOT_KNOWN
