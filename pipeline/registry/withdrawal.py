"""Taking the versions that were trained on a photo out of use."""

from datetime import UTC, datetime
from pathlib import Path

from pipeline.registry.impact import Affected
from pipeline.registry.lock import promotion_lock
from pipeline.registry.promotion import BANNED, banned
from pipeline.registry.store import connect
from pipeline.registry.versions import WITHDRAWN


def withdraw(workspace: Path, affected: list[Affected], by: str, why: str = "") -> None:
    """Mark versions as withdrawn and take their aliases away; done again, it finishes what was cut off.

    The mark comes first: a version that has lost an alias can never get it back. The photos' digests are kept beside
    the registered model, so that a later version trained on them is not promoted either.

    Raises:
        Busy: a promotion of one of the models is under way.
    """
    client = connect(workspace)
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    for model in sorted({item.sighting.model for item in affected}):
        mine = [item for item in affected if item.sighting.model == model]
        with promotion_lock(client, model, by):
            photos = banned(client, model) | {item.sighting.sha256 for item in mine}
            client.set_registered_model_tag(model, BANNED, ",".join(sorted(photos)))
            for item in mine:
                told = f"photo {item.sighting.sha256[:16]} was withdrawn by {by} at {at}{': ' * bool(why)}{why}"
                if item.withdrawn is None:
                    client.set_model_version_tag(model, item.sighting.version, WITHDRAWN, told)
            aliases = client.get_registered_model(model).aliases
            gone = {item.sighting.version for item in mine}
            for alias in (alias for alias, version in aliases.items() if str(version) in gone):
                client.delete_registered_model_alias(model, alias)
