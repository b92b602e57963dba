"""Other models that a recipe draws with, as the registry has them now: in use, out of use, or unknown."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline.lineage.deleted import DELETED
from pipeline.lineage.tags import WITHDRAWN
from pipeline.registry.versions import versions_with

if TYPE_CHECKING:
    from mlflow import MlflowClient


def unusable_others(client: "MlflowClient", others: Mapping[str, str | None]) -> tuple[list[str], list[str]]:
    """Models that nothing may draw with any more, and models that no version here is: a clause for each, to follow
    'draws with'.

    Args:
        others: content digests, or None where the recipe names none, by the name of the model.
    """
    gone, unknown = [], []
    for name, digest in others.items():
        known = versions_with(client, "content_digest", digest) if digest else []
        if any(WITHDRAWN in version.tags for version in known):
            gone.append(f"{name}, which was withdrawn")
        elif known and all(DELETED in version.tags for version in known):
            gone.append(f"{name}, whose weights were deleted")
        elif not known:
            content = f"content {digest[:16]}" if digest else "a content that it does not name"
            unknown.append(f"{name}, {content}, which no version here has")
    return gone, unknown
