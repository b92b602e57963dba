"""What a reference resolved to: a record, and the files that it is compared with, fetched on demand."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.lineage.deleted import deletion_of
from pipeline.lineage.links import Evidence, Link
from pipeline.registry.artifacts import ArtifactsAway, ArtifactsSilent


@dataclass(frozen=True)
class Stored:
    """A registered version's files in the registry; each is fetched when it is called, None where there is none.

    A call raises ArtifactsAway where the files could not be read.
    """

    served: Callable[[], Path | None]  # MLflow's folder of the version, with the weights in it
    adapter: Callable[[], Path | None]  # LoRA layers in MLflow's own form
    report: Callable[[], Path | None]
    whole: Callable[[Path, bool], Path]  # the folder of a version's own files, with those that versions share


@dataclass(frozen=True)
class Found:
    """What a reference led to.

    `facts` are shown above the record. `tags` are the version's, `files` is the record as it is in the run's
    artifacts, `header` the short record in a single file, `file` that file where it holds tensors, `stored` what the
    registry keeps of the version; each None where there is none. `own_links` are checks of the file that was asked
    about, made while it was read. `others` are further models that drew a picture along, or what went into it.
    """

    title: str
    lineage: dict[str, Any]
    facts: dict[str, str] = field(default_factory=dict)
    folder: Path | None = None
    tags: dict[str, str] | None = None
    files: Path | None = None
    header: dict[str, Any] | None = None
    own_links: tuple[Link, ...] = ()
    file: Path | None = None
    stored: Stored | None = None
    others: tuple["Found", ...] = ()
    version: tuple[str, str] | None = None  # name and number of the registered version behind it

    @cached_property
    def served(self) -> Path | None:
        """MLflow's folder of the registered version; fetched at the first look, None where it cannot be."""
        try:
            return self.stored.served() if self.stored else None
        except ArtifactsSilent:
            raise
        except ArtifactsAway:
            return None

    @cached_property
    def model(self) -> Path | None:
        """The folder with the weights; fetched at the first look. None where they are not available here.

        Raises:
            PartMissing: a file that the version shares with others is missing or was changed.
        """
        return self._whole(verifying=False)

    @property
    def why_without_weights(self) -> str:
        """Why `model` is None, as a sentence."""
        deletion = deletion_of(self.tags or {})
        if deletion is None:
            return f"the weights of {self.title} are not available on this machine"
        return (
            f"{self.title} has no weights any more: they were deleted by {deletion.by} at {deletion.at}: {deletion.why}"
        )

    def _whole(self, verifying: bool) -> Path | None:
        if self.folder is not None or self.stored is None or self.served is None:
            return self.folder
        own = next((path.parent for path in sorted(self.served.glob("artifacts/*/model_index.json"))), None)
        return self.stored.whole(own, verifying) if own is not None else None

    def evidence(self, workspace: Path) -> Evidence:
        """All that the record can be compared with; fetches what the registry keeps."""
        unreadable: dict[str, str] = {}
        return Evidence(
            workspace=workspace,
            model=self._whole(verifying=True),
            tags=self.tags,
            files=self.files,
            header=self.header,
            file=self.file,
            served=self.served,
            adapter=self._read("adapter", unreadable),
            report=self._read("report", unreadable),
            unreadable=unreadable,
        )

    def _read(self, part: str, unreadable: dict[str, str]) -> Path | None:
        if self.stored is None:
            return None
        try:
            return getattr(self.stored, part)()
        except ArtifactsSilent:
            raise
        except ArtifactsAway as error:
            unreadable[part] = str(error)
            return None
