"""Which likeness counts: to the held-out photos where there are any, else to the training photos."""

from typing import Any, Literal

# Why it is missing.
ONE_SCENE = "photos of one scene alone give no yardstick of likeness"
NO_WAY = "the base's pictures are as near to the photos as the photos are to each other, or cannot be told from it"


def likeness_metric(evaluation: dict[str, Any]) -> Literal["identity_heldout", "identity_train"]:
    """The metric by which an evaluation (or what `judge` returns) measures likeness."""
    return "identity_train" if "identity_heldout" in evaluation["missing"] else "identity_heldout"
