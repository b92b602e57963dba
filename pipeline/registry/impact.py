"""Which registered versions were trained on a photo."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import UserError
from pipeline.files import digest_file
from pipeline.photos.read import PhotoProblem, open_photo
from pipeline.photos.similarity import perceptual_hash
from pipeline.registry.photo_index import Sighting, Unresolved, open_index
from pipeline.registry.store import connect, tracking_uri
from pipeline.registry.versions import WITHDRAWN

if TYPE_CHECKING:
    from mlflow import MlflowClient

SHA256 = re.compile(r"^[0-9a-f]{64}$")
MAX_PIXELS = 200_000_000


class NoSuchPhoto(UserError):
    """What was named is neither a picture nor the sha256 of one."""


@dataclass(frozen=True)
class Affected:
    """A registered version that saw the photo, as the registry has it now."""

    sighting: Sighting
    aliases: tuple[str, ...]
    withdrawn: str | None

    @property
    def name(self) -> str:
        """'mysks version 3'."""
        return f"{self.sighting.model} version {self.sighting.version}"


@dataclass(frozen=True)
class Impact:
    """The answer: who saw it, of whom nobody can say, and how many photos are known by exact copies only."""

    affected: list[Affected]
    unresolved: list[Unresolved]
    without_hash: int


def impact(workspace: Path, photo: str, rebuild: bool = False) -> Impact:
    """Every registered version that was trained on a photo, or on one that looks like it.

    Args:
        photo: a picture file, or the sha256 of one that is gone (then only exact copies are found).
        rebuild: read the whole registry again, not only what is new in it.

    Raises:
        NoSuchPhoto: neither a picture nor a sha256.
        StoreError: the registry does not answer.
    """
    sha256, phash = _fingerprints(photo)
    client = connect(workspace)
    with open_index(workspace, tracking_uri(workspace), rebuild) as index:
        index.update(client)
        sightings = index.find(sha256, phash)
        affected = []
        for model in sorted({sighting.model for sighting in sightings}):
            now = {str(version.version): version for version in _versions(client, model)}
            aliases = client.get_registered_model(model).aliases if now else {}
            for sighting in (found for found in sightings if found.model == model):
                if sighting.version not in now:
                    index.forget(model, sighting.version)
                    continue
                named = tuple(sorted(alias for alias, held in aliases.items() if str(held) == sighting.version))
                affected.append(Affected(sighting, named, now[sighting.version].tags.get(WITHDRAWN)))
        return Impact(affected, index.unresolved(), index.without_hash())


def _fingerprints(photo: str) -> tuple[str, int | None]:
    if SHA256.match(photo):
        return photo, None
    path = Path(photo)
    if not path.is_file():
        raise NoSuchPhoto(f"{photo} is neither a file nor the sha256 of a photo (64 hexadecimal digits)")
    try:
        return digest_file(path), perceptual_hash(open_photo(path, MAX_PIXELS, 1))
    except PhotoProblem as problem:
        raise NoSuchPhoto(f"{photo} {problem}") from None


def _versions(client: "MlflowClient", model: str) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_model_versions(f"name = '{model}'", max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
