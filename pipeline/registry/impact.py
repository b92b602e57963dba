"""Which registered versions were trained on a photo."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import UserError, counted
from pipeline.files import digest_file
from pipeline.lineage.tags import WITHDRAWN
from pipeline.photos.read import PhotoProblem, open_photo
from pipeline.photos.similarity import perceptual_hash
from pipeline.registry.photo_index import PhotoIndex, Sighting, Unresolved, open_index
from pipeline.registry.recipes import versions_drawing_with
from pipeline.registry.store import connect, tracking_uri
from pipeline.registry.versions import versions_of, versions_with
from pipeline.registry.withdrawn_photos import withdrawn_photos
from pipeline.sampling.picture_index import Descendant, drawn_from, drawn_with

if TYPE_CHECKING:
    from mlflow import MlflowClient

SHA256 = re.compile(r"^[0-9a-f]{64}$")
MAX_PIXELS = 200_000_000


class NoSuchPhoto(UserError):
    """The argument is neither a picture nor the sha256 of one."""


@dataclass(frozen=True)
class Affected:
    """A registered version that saw the photo, as the registry has it now; or one that was trained on such a version,
    `through`, and has that one's sighting. Where the version itself saw only a photo that looks like it, and its base
    the file, it has both: the base's sighting, with its own photos among the `others`.
    """

    sighting: Sighting
    aliases: tuple[str, ...]
    withdrawn: str | None
    content: str = ""
    through: str = ""  # the affected version that is its base

    @property
    def name(self) -> str:
        """'mysks version 3'."""
        return f"{self.sighting.model} version {self.sighting.version}"

    @property
    def line(self) -> str:
        """Its name, aliases, how it is affected, and by whom it is withdrawn already."""
        aliases = f" ({', '.join(self.aliases)})" if self.aliases else ""
        return f"{self.name}{aliases}{self.how}{f' [{self.withdrawn}]' if self.withdrawn else ''}"

    @property
    def how(self) -> str:
        """How it is affected, to follow its name: through its base, by a photo that differs from the one asked about;
        '' where it saw the very file.
        """
        base = f": through its base, {self.through}" if self.through else ""
        if self.sighting.exact:
            return base
        sighting = self.sighting
        return f"{base}: an altered copy, {sighting.distance} of 64 bits differ from photo {sighting.sha256[:16]}"


@dataclass(frozen=True)
class Impact:
    """The answer: the versions that saw it, those that are unknown, and how many photos are known by exact copies only.

    `sha256` and `phash` (16 hexadecimal digits; None where nobody knows it) are those of the photo asked about.
    `drawn_from` are files of pictures that the photo, or a copy of it, went into in this workspace, and `drawn_sha256`
    the digests of these pictures, by which those that were moved or renamed are found.
    `drawn_with` are files of pictures that an affected version drew here, alone or along with others, or that such
    pictures went into, and `recipes`
    the registered versions whose recipe draws with an affected one.
    """

    affected: list[Affected]
    unresolved: list[Unresolved]
    without_hash: int
    sha256: str
    phash: str | None
    drawn_from: tuple[str, ...] = ()
    drawn_with: tuple[str, ...] = ()
    recipes: tuple[str, ...] = ()
    drawn_sha256: tuple[str, ...] = ()

    @property
    def further(self) -> list[str]:
        """What the answer says beside the affected versions: a line for each picture, recipe and unknown version, and
        one where photos of older records are recognised by exact copies only.
        """
        return [
            *(f"a picture that was drawn from it: {file}" for file in self.drawn_from),
            *(
                f"a picture that one of these versions drew, or that such a one went into: {file}"
                for file in self.drawn_with
            ),
            *(f"{version} has a recipe that draws with one of these versions" for version in self.recipes),
            *(f"unknown: {row.model} version {row.version}: {row.problem}" for row in self.unresolved),
            *self._weakly_known(),
        ]

    def _weakly_known(self) -> list[str]:
        photos = counted(self.without_hash, "photo")
        return [f"{photos} of older records are recognised by exact copies only"] if self.without_hash else []


def impact(workspace: Path, photo: str, rebuild: bool = False, exact: bool = False) -> Impact:
    """Every registered version that was trained on a photo, or on one that looks like it.

    Args:
        photo: a picture file, or the sha256 of one that is gone; altered copies of that are found where a version
            saw it, or it was withdrawn, since its perceptual hash is on record then.
        rebuild: read the whole registry again, not only what is new in it.
        exact: look for this very file alone; photos and drawings that only look like it count for nothing.

    Raises:
        NoSuchPhoto: neither a picture nor a sha256.
        StoreError: the registry does not answer.
    """
    sha256, phash = _fingerprints(photo)
    client = connect(workspace)
    with open_index(workspace, tracking_uri(workspace), rebuild) as index:
        index.update(client)
        if exact:
            phash = None
        elif phash is None:
            phash = index.phash_of(sha256)
            phash = _withdrawn_phash(client, sha256) if phash is None else phash
        affected = _affected(client, index, index.find(sha256, phash))
        if affected is None:  # the registry was recreated: the index has read the versions again
            affected = _affected(client, index, index.find(sha256, phash)) or []
        affected = _with_heirs(client, affected)
        text = None if phash is None else f"{phash:016x}"
        seen = {sha256, *(digest for item in affected for digest in item.sighting.all_sha256)}
        started = drawn_from(workspace, seen, phash)
        return Impact(
            affected,
            index.unresolved(),
            index.without_hash(),
            sha256,
            text,
            _files_of(started),
            *_reached(workspace, client, affected),
            tuple(dict.fromkeys(found.sha256 for found in started if found.sha256 is not None)),
        )


def _reached(
    workspace: Path, client: "MlflowClient", affected: list[Affected]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The pictures that versions drew in this workspace, and the versions whose recipes draw with them."""
    contents = {item.content for item in affected if item.content}
    using = [version for content in sorted(contents) for version in versions_drawing_with(client, content)]
    recipes = dict.fromkeys(f"{version.name} version {version.version}" for version in using)
    return _files_of(drawn_with(workspace, contents)), tuple(recipes)


def _files_of(pictures: list[Descendant]) -> tuple[str, ...]:
    """The files of pictures, or words for those that do not lie where they were drawn."""
    return tuple(found.file if found.is_there else _moved(found) for found in pictures)


def _moved(found: Descendant) -> str:
    return f"a picture that is no longer at {found.file}" if found.file else "a picture of unknown name"


def _affected(client: "MlflowClient", index: PhotoIndex, sightings: list[Sighting]) -> list[Affected] | None:
    """The versions as the registry has them now; None where the index spoke of others of the same numbers."""
    affected, stale = [], False
    for model in sorted({sighting.model for sighting in sightings}):
        now = {str(version.version): version for version in versions_of(client, model)}
        aliases = client.get_registered_model(model).aliases if now else {}
        for sighting in (found for found in sightings if found.model == model):
            if sighting.version not in now:
                index.forget(model, sighting.version)
            elif not index.check(now[sighting.version]):
                stale = True
            else:
                named = tuple(sorted(alias for alias, held in aliases.items() if str(held) == sighting.version))
                tags = now[sighting.version].tags
                affected.append(Affected(sighting, named, tags.get(WITHDRAWN), str(tags.get("content_digest", ""))))
    return None if stale else affected


def _with_heirs(client: "MlflowClient", affected: list[Affected]) -> list[Affected]:
    """Affected versions, and those that were trained on one of them, on one of these, and so on.

    A version that saw only a look-alike, and whose base saw the file, is affected by the file: that is handed on.
    """
    found = {(item.sighting.model, item.sighting.version): item for item in affected}
    open_ends = list(affected)
    while open_ends:
        one = open_ends.pop(0)
        for version in versions_with(client, "base_digest", one.content) if one.content else ():
            key = str(version.name), str(version.version)
            known = found.get(key)
            if known is not None and (known.sighting.exact or not one.sighting.exact):
                continue
            found[key] = _heir(client, version, one, known)
            open_ends.append(found[key])
    return list(found.values())


def _heir(client: "MlflowClient", version: Any, base: Affected, known: Affected | None) -> Affected:
    """A version as affected through its base; `known` is how it was known to be affected before."""
    name, number = str(version.name), str(version.version)
    aliases = client.get_registered_model(name).aliases
    named = tuple(sorted(alias for alias, held in aliases.items() if str(held) == number))
    own = known.sighting.all_sha256 if known is not None else ()
    seen = dict.fromkeys([*base.sighting.others, *own])
    sighting = replace(base.sighting, model=name, version=number, others=tuple(seen))
    content = str(version.tags.get("content_digest", ""))
    return Affected(sighting, named, version.tags.get(WITHDRAWN), content, base.name)


def _withdrawn_phash(client: "MlflowClient", sha256: str) -> int | None:
    """The perceptual hash of a photo that was withdrawn; None where it was not, or by exact copies only."""
    kept = withdrawn_photos(client).get(sha256)
    return int(kept.phash, 16) if kept is not None and kept.phash else None


def _fingerprints(photo: str) -> tuple[str, int | None]:
    if SHA256.match(photo.lower()):
        return photo.lower(), None
    path = Path(photo)
    if not path.is_file():
        raise NoSuchPhoto(f"{photo} is neither a file nor the sha256 of a photo (64 hexadecimal digits)")
    try:
        return digest_file(path), perceptual_hash(open_photo(path, MAX_PIXELS, 1))
    except PhotoProblem as problem:
        raise NoSuchPhoto(f"{photo} {problem.found}") from None
