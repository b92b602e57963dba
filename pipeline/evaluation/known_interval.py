"""Whether the interval of a figure says anything."""

from typing import Any

FEWEST = 2  # prompts that an interval over prompts needs; with one it has no width


def has_interval(row: dict[str, Any]) -> bool:
    """Whether the bounds of a row of the metrics say anything: over one prompt or meaning a bootstrap has no width.

    A share of copies has an interval of its own, and so has success on the worst prompts, which are chosen from all.
    """
    if row["metric"] == "copied" or row.get("prompts", FEWEST) >= FEWEST:
        return True
    return bool(row["metric"] == "worst_success" and row["low"] < row["high"])
