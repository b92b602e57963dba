"""Whether the interval of a figure says anything, and how pages show it."""

from collections.abc import Mapping
from typing import Any

FEWEST = 2  # prompts that an interval over prompts needs; with one it has no width
COSINES = (
    "identity_train", "identity_heldout", "identity_masked", "likeness", "prompt_fidelity", "copy", "train_gap",
    "class_likeness", "subject_free",
)  # fmt: skip
NOT_KNOWN = "no interval known"


def has_interval(row: Mapping[str, Any]) -> bool:
    """Whether the bounds of a row of the metrics say anything.

    They do not over one prompt or meaning, which show nothing of the others, nor where they have no width
    (`has_width`). A share of copies has an interval of its own, and so has success on the worst prompts, which are
    chosen from all. A cosine that differs by 0 in every picture is known without a width: both models drew the same
    pictures, as those of textual inversion and of its base are where a prompt has none of its words.
    """
    own = row["metric"] in ("copied", "worst_success")
    return (own or row.get("prompts", FEWEST) >= FEWEST) and (has_width(row) or _same_pictures(row))


def _same_pictures(row: Mapping[str, Any]) -> bool:
    compared = row["metric"] in COSINES and row.get("model", "difference") == "difference"  # gates name no model
    return compared and row["value"] == row["low"] == row["high"] == 0


def has_width(row: Mapping[str, Any]) -> bool:
    """Whether bounds lie apart. Where they do not, no bootstrap draw differed from another, and nothing is known of how
    certain the figure is; evaluations of older versions have such bounds also for shares of all pictures, or of none.
    """
    return row["low"] is not None and row["high"] is not None and bool(row["low"] < row["high"])


def gate_words(gate: Mapping[str, Any], digits: int = 4) -> dict[str, str]:
    """A row of a table of gates: `gate`, its `verdict`, and what was `measured` and `wanted`."""
    measured = "not measured" if gate["value"] is None else figure_words(gate, digits)
    wanted = "off" if gate["threshold"] is None else f"{gate['direction']} {gate['threshold']:g}"
    return {"gate": gate["gate"], "verdict": gate["verdict"], "measured": measured, "wanted": wanted}


def figure_words(row: Mapping[str, Any], digits: int = 4, sign: str = "") -> str:
    """'0.5000 (0.4000 to 0.6000)' for a figure or gate with its interval (`interval_words`)."""
    return f"{row['value']:{sign}.{digits}f} ({interval_words(row, digits, sign)})"


def interval_words(row: Mapping[str, Any], digits: int = 4, sign: str = "") -> str:
    """'0.4000 to 0.6000' for the bounds of a figure or gate; `NOT_KNOWN` where they say nothing.

    Args:
        sign: '+' shows the sign of bounds of a difference.
    """
    if not (has_interval(row) if "metric" in row else has_width(row)):
        return NOT_KNOWN
    return f"{row['low']:{sign}.{digits}f} to {row['high']:{sign}.{digits}f}"
