"""A person's yes and no about a version; the no takes a candidate's alias away."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.registry.aliases import CHAMPION, PREVIOUS, registered_model
from pipeline.registry.lock import promotion_lock
from pipeline.registry.lookup import registered_version
from pipeline.registry.reviews import APPROVED, REJECTED, keep_review
from pipeline.registry.store import connect


@dataclass(frozen=True)
class Rejection:
    """What a rejection changed: the aliases that the version lost, and those that it has still."""

    model: str
    version: str
    lost: list[str]
    kept: list[str]

    @property
    def sentence(self) -> str:
        """The result, for a person."""
        said = f"{self.model} version {self.version} is rejected; the reason is on record"
        if self.lost:
            said += f". It is no longer {' or '.join(f'the {alias}' for alias in self.lost)}"
        if CHAMPION in self.kept:
            said += ". It is still the champion: promote another version, or roll back"
        return said + "."


def approve(workspace: Path, model: str, version: str, by: str, reason: str, patience: float = 0) -> None:
    """Record that a person approved a version; nothing else changes.

    Args:
        patience: seconds to wait for a promotion of the model.

    Raises:
        Busy: one is under way.
    """
    client = connect(workspace)
    with promotion_lock(client, model, by, patience, "approving a version"):
        keep_review(client, model, version, by, APPROVED, reason)


def reject(workspace: Path, ref: str, by: str, reason: str, patience: float = 0) -> Rejection:
    """Record that a person does not want a version, and take the aliases of a candidate away from it.

    The champion stays the champion, and the one before it what `rollback` goes back to. The same weights, registered
    again after a new evaluation, are a candidate again.

    Args:
        patience: seconds to wait for a promotion of the model.

    Raises:
        UnknownVersion: `ref` names no registered version.
        Busy: one is under way.
    """
    client = connect(workspace)
    version = registered_version(workspace, ref)
    name, number = str(version.name), str(version.version)
    with promotion_lock(client, name, by, patience, "rejecting a version") as held:
        keep_review(client, name, number, by, REJECTED, reason)
        has = sorted(alias for alias, holder in registered_model(client, name).aliases.items() if str(holder) == number)
        kept = [alias for alias in has if alias in (CHAMPION, PREVIOUS)]
        lost = [alias for alias in has if alias not in kept]
        held.confirm()
        for alias in lost:
            client.delete_registered_model_alias(name, alias)
    return Rejection(name, number, lost, kept)
