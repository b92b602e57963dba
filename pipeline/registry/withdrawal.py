"""Taking a photo, and the versions that were trained on it, out of use."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import UserError
from pipeline.lineage.tags import WITHDRAWN
from pipeline.registry.impact import Affected
from pipeline.registry.lock import promotion_lock
from pipeline.registry.promotion_history import settle
from pipeline.registry.store import connect, told
from pipeline.registry.withdrawn_photos import WithdrawnPhoto, record_withdrawn

if TYPE_CHECKING:
    from mlflow import MlflowClient


class Unfinished(UserError):
    """A photo is withdrawn, and not all of the versions that saw it; `status` is that of the first failure."""

    def __init__(self, failed: list[UserError]):
        why = "; ".join(dict.fromkeys(str(error) for error in failed))
        super().__init__(f"the photo is withdrawn, but not all versions that were trained on it: {why}")
        self.status = failed[0].status


def withdraw(
    workspace: Path,
    affected: list[Affected],
    by: str,
    why: str = "",
    photos: Iterable[tuple[str, str | None]] = (),
) -> None:
    """Withdraw photos from the registry, and the versions that saw them; called again, it finishes what was cut off.

    The list of withdrawn photos comes first: from then on no promotion, rollback or registration makes a version that
    saw them a champion. Aliases go before a version is marked, so that no alias ever names a withdrawn version.

    Args:
        photos: sha256 and perceptual hash (or None: exact copies only) of what is withdrawn, whether or not a version
            saw it; the copies that the affected versions saw are added.

    Raises:
        Unfinished: a promotion of one of the models is under way, or the registry failed; the photos are withdrawn, and
            the versions of other models: call it again.
    """
    client = connect(workspace)
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    named = dict(photos)
    copies = {digest: named.get(digest) for item in affected for digest in item.sighting.all_sha256}
    record_withdrawn(client, [WithdrawnPhoto(*photo, by, at, why) for photo in {**copies, **named}.items()])
    failed: list[UserError] = []
    for model in sorted({item.sighting.model for item in affected}):
        mine = [item for item in affected if item.sighting.model == model]
        try:
            _withdraw_versions(client, model, mine, by, f"was withdrawn by {by} at {at}{': ' * bool(why)}{why}")
        except Exception as error:
            if (known := told(error)) is None:
                raise
            failed.append(known)
    if failed:
        raise Unfinished(failed)


def _withdraw_versions(client: "MlflowClient", model: str, affected: list[Affected], by: str, how: str) -> None:
    gone = {item.sighting.version for item in affected}
    with promotion_lock(client, model, by, work="withdrawing versions") as held:
        held.confirm()
        settle(client, model)
        aliases = client.get_registered_model(model).aliases
        held.confirm()
        for alias, version in aliases.items():
            if str(version) in gone:
                client.delete_registered_model_alias(model, alias)
        for item in affected:
            if item.withdrawn is None:
                text = f"photo {item.sighting.sha256[:16]} {how}"
                client.set_model_version_tag(model, item.sighting.version, WITHDRAWN, text[:4000])
