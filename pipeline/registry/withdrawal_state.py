"""Whether a model that was found is withdrawn."""

from pathlib import Path

from pipeline.lineage.tags import WITHDRAWN
from pipeline.registry.found import Found
from pipeline.registry.store import connect, has_store
from pipeline.registry.versions import versions_with, withdrawn_version
from pipeline.registry.withdrawn_photos import matches, withdrawn_photos


def withdrawal_of(workspace: Path, found: Found) -> str | None:
    """Why a model is withdrawn, by its version, its base or a photo that it saw; None where it is not, or there is no
    registry here.

    Raises:
        StoreError: the registry does not answer.
    """
    if not has_store(workspace):
        return None
    client = connect(workspace)
    versions = versions_with(client, "content_digest", found.lineage["weights"]["content_digest"])
    for version in versions:
        if WITHDRAWN in version.tags:
            return str(version.tags[WITHDRAWN])
    saw = matches(found.lineage["photos"]["files"], withdrawn_photos(client, versions[0].name if versions else None))
    if saw.exact:
        return f"its photo {saw.exact[0]} was withdrawn"
    base = withdrawn_version(client, found.lineage["base"]["digest"])
    return f"it was trained on {base}, which was withdrawn" if base else None
