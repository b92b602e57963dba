"""Which noise a judged picture started from, as evaluations of all versions record it."""

from typing import Any


def recorded_noise(row: dict[str, Any]) -> int:
    """The seed of the noise that the picture of a row of `pictures` started from, which draws it again.

    Evaluations of older versions record none: they drew every prompt with the suite's seeds themselves.
    """
    return int(row.get("noise", row["seed"]))
