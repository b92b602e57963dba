"""All registered models at a glance: versions, aliases, verdicts, and the disk they take."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.lineage.deleted import deletion_of
from pipeline.lineage.tags import WITHDRAWN
from pipeline.registry.aliases import all_models
from pipeline.registry.artifacts import local_path
from pipeline.registry.reviews import rejection_of
from pipeline.registry.store import DATABASE, SQLITE, connect, tracking_uri
from pipeline.registry.versions import versions_of

STATES = {"approved": "fit for promotion", "rejected": "not to be promoted"}
NOT_JUDGED = "not judged"


@dataclass(frozen=True)
class VersionFacts:
    """A registered version. `state` is one of 'fit for promotion', 'not to be promoted', 'rejected by NAME',
    'withdrawn', 'not judged', 'deleted'; `size` is in bytes, None where its files are not on this machine's disk.
    `deleted` says who deleted its weights, when and why, `withdrawn` which photo was withdrawn; '' otherwise.
    """

    model: str
    version: str
    aliases: list[str]
    state: str
    verdict: str
    created: str
    size: int | None
    run_id: str
    content_digest: str
    deleted: str = ""
    withdrawn: str = ""

    @property
    def why_barred(self) -> str:
        """What holds of it now instead of its verdict, with who, when and why; '' where nothing does."""
        if not self.barred:
            return ""
        return self.deleted or (f"withdrawn: {self.withdrawn}" if self.withdrawn else self.state)

    @property
    def barred(self) -> bool:
        """Whether it is withdrawn, deleted or rejected: its verdict says nothing about a promotion any more."""
        return self.state not in (*STATES.values(), NOT_JUDGED)

    @property
    def judged(self) -> str:
        """Its verdict, which is called one of before where something else holds now."""
        return f"when it was judged: {self.verdict}" if self.verdict and self.barred else self.verdict

    @property
    def reference(self) -> str:
        """How commands name it."""
        return f"models:/{self.model}/{self.version}"

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "reference": self.reference}


def overview(workspace: Path) -> dict[str, list[VersionFacts]]:
    """The versions of every registered model, the newest first; asking makes no database.

    Raises:
        StoreError: the registry cannot be read.
    """
    uri = tracking_uri(workspace)
    if uri == f"{SQLITE}{(workspace / DATABASE).resolve()}" and not (workspace / DATABASE).is_file():
        return {}
    client = connect(workspace)
    found: dict[str, list[VersionFacts]] = {}
    for model in all_models(client):
        aliases: dict[str, list[str]] = {}
        for alias, number in client.get_registered_model(model.name).aliases.items():
            aliases.setdefault(str(number), []).append(alias)
        versions = reversed(versions_of(client, model.name))
        found[model.name] = [_facts(version, sorted(aliases.get(str(version.version), []))) for version in versions]
    return found


def _facts(version: Any, aliases: list[str]) -> VersionFacts:
    tags = version.tags
    deletion = deletion_of(tags)
    state = STATES.get(tags.get("validation_status", ""), NOT_JUDGED)
    if rejection := rejection_of(tags):
        state = f"rejected by {rejection.by}"
    if WITHDRAWN in tags:
        state = "withdrawn"
    made = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)
    return VersionFacts(
        model=version.name,
        version=str(version.version),
        aliases=aliases,
        state=state if deletion is None else "deleted",
        verdict=tags.get("verdict", ""),
        created=made.strftime("%Y-%m-%d %H:%M UTC"),
        size=_size(str(version.source)),
        run_id=str(version.run_id or ""),
        content_digest=tags.get("content_digest", ""),
        deleted="" if deletion is None else str(deletion),
        withdrawn=tags.get(WITHDRAWN, ""),
    )


def _size(source: str) -> int | None:
    folder = local_path(source)
    if folder is None or not folder.is_dir():
        return None
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
