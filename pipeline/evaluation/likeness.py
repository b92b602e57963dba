"""Which likeness counts: to the held-out photos where there are any, else to the training photos."""

from typing import Any, Literal


def likeness_metric(evaluation: dict[str, Any]) -> Literal["identity_heldout", "identity_train"]:
    """The metric by which an evaluation (or what `judge` returns) measures likeness."""
    return "identity_train" if "identity_heldout" in evaluation["missing"] else "identity_heldout"
