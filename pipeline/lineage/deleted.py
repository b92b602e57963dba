"""The mark of a version whose weights somebody deleted: its record stays, so that trace still works."""

import json
from dataclasses import asdict, dataclass

DELETED = "weights_deleted"  # tag of a version
LONGEST_REASON = 2000


@dataclass(frozen=True)
class Deletion:
    """Who deleted the weights of a version, when (UTC) and why; `size` bytes of its own were freed."""

    by: str
    at: str
    why: str
    size: int

    def as_tag(self) -> str:
        """As the version's tag holds it."""
        return json.dumps({**asdict(self), "why": self.why[:LONGEST_REASON]}, sort_keys=True)

    def __str__(self) -> str:
        return f"weights deleted by {self.by} at {self.at}: {self.why}"


def deletion_of(tags: dict[str, str]) -> Deletion | None:
    """The deletion that the tags of a version tell of; None where its weights are kept."""
    if DELETED not in tags:
        return None
    try:
        values = json.loads(tags[DELETED])
        return Deletion(str(values["by"]), str(values["at"]), str(values["why"]), int(values["size"]))
    except (ValueError, KeyError, TypeError):
        return Deletion("somebody", "an unknown time", "unknown", 0)
