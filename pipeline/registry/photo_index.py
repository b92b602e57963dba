"""Which registered versions saw which photo: an index beside the workspace, filled from the registry alone.

It holds nothing that the registry does not: it may be removed at any time, and is built again by the next question.
"""

import json
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import UserError
from pipeline.files import digest_value
from pipeline.layout import PHOTO_INDEX
from pipeline.lineage.tags import PHOTOS
from pipeline.photos.similarity import NEAR
from pipeline.registry.lookup import version_record

if TYPE_CHECKING:
    from mlflow import MlflowClient

PAGE = 200  # versions looked at before the newest ones count as known
SCHEMA = """
CREATE TABLE IF NOT EXISTS source (uri TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS versions (
    id INTEGER PRIMARY KEY, model TEXT NOT NULL, version INTEGER NOT NULL, set_id INTEGER, problem TEXT,
    UNIQUE (model, version));
CREATE TABLE IF NOT EXISTS sets (id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS photos (set_id INTEGER NOT NULL, sha256 TEXT NOT NULL, phash INTEGER);
CREATE INDEX IF NOT EXISTS by_sha256 ON photos (sha256);
CREATE INDEX IF NOT EXISTS by_set ON versions (set_id);
"""


@dataclass(frozen=True)
class Sighting:
    """A version that was trained on a photo. `distance` is 0 for the file itself, else bits of 64 that differ."""

    model: str
    version: str
    sha256: str
    exact: bool
    distance: int


@dataclass(frozen=True)
class Unresolved:
    """A version of which nobody can say here which photos it saw."""

    model: str
    version: str
    problem: str


class PhotoIndex:
    """The index of one registry. Use `open_index`."""

    def __init__(self, database: sqlite3.Connection):
        self.database = database

    def update(self, client: "MlflowClient") -> int:
        """Take in the versions that are new since the last time, the newest first; returns how many were.

        All or nothing: cut off in between, the next call begins where this one began.
        """
        known = {(model, version) for model, version in self.database.execute("SELECT model, version FROM versions")}
        added = 0
        for page in _newest_first(client, whole=not known):
            fresh = [found for found in page if (found.name, int(found.version)) not in known]
            for found in fresh:
                self._add(found)
            added += len(fresh)
            if not fresh:
                break
        self.database.commit()
        return added

    def find(self, sha256: str | None, phash: int | None) -> list[Sighting]:
        """Versions that saw the file with this digest, and those that saw a photo that looks like it."""
        found: dict[tuple[str, int], Sighting] = {}
        matches = [(sha256, 0, True)] if sha256 else []
        if phash is not None:
            matches += [(digest, bits, False) for digest, bits in self._near(phash) if digest != sha256]
        for digest, bits, exact in matches:
            rows = self.database.execute(
                "SELECT DISTINCT model, version FROM photos JOIN versions USING (set_id) WHERE sha256 = ?", (digest,)
            )
            for model, version in rows:
                found.setdefault((model, version), Sighting(model, str(version), digest, exact, bits))
        return [found[key] for key in sorted(found)]

    def unresolved(self) -> list[Unresolved]:
        """Versions whose photos could not be found out."""
        rows = self.database.execute(
            "SELECT model, version, problem FROM versions WHERE problem IS NOT NULL ORDER BY model, version"
        )
        return [Unresolved(model, str(version), problem) for model, version, problem in rows]

    def without_hash(self) -> int:
        """Photos of which only exact copies are recognised: their records are older than the perceptual hash."""
        (count,) = self.database.execute("SELECT count(DISTINCT sha256) FROM photos WHERE phash IS NULL").fetchone()
        return int(count)

    def forget(self, model: str, version: str) -> None:
        """Drop a version that the registry no longer has."""
        self.database.execute("DELETE FROM versions WHERE model = ? AND version = ?", (model, int(version)))
        self.database.commit()

    def _near(self, phash: int) -> list[tuple[str, int]]:
        rows = self.database.execute("SELECT DISTINCT sha256, phash FROM photos WHERE phash IS NOT NULL").fetchall()
        if not rows:
            return []
        known = np.array([row[1] for row in rows], np.int64).view(np.uint64)
        bits = np.bitwise_count(known ^ np.uint64(phash))
        order = np.argsort(bits, kind="stable")
        return [(rows[at][0], int(bits[at])) for at in order[: int((bits <= NEAR).sum())]]

    def _add(self, found: Any) -> None:
        photos = _photos(found)
        set_id, problem = (None, photos) if isinstance(photos, str) else (self._set(photos), None)
        self.database.execute(
            "INSERT OR REPLACE INTO versions (model, version, set_id, problem) VALUES (?, ?, ?, ?)",
            (found.name, int(found.version), set_id, problem),
        )

    def _set(self, photos: list[tuple[str, int | None]]) -> int:
        """The id of a set of photos; versions that were trained on the same photos share it."""
        digest = digest_value(photos)
        row = self.database.execute("SELECT id FROM sets WHERE digest = ?", (digest,)).fetchone()
        if row:
            return int(row[0])
        added = self.database.execute("INSERT INTO sets (digest) VALUES (?)", (digest,)).lastrowid
        assert added is not None
        self.database.executemany(
            "INSERT INTO photos (set_id, sha256, phash) VALUES (?, ?, ?)",
            [(added, sha256, phash) for sha256, phash in photos],
        )
        return added


@contextmanager
def open_index(workspace: Path, registry: str, rebuild: bool = False) -> Iterator[PhotoIndex]:
    """The index of the registry at a URI, kept in the workspace; that of another registry is replaced.

    Args:
        rebuild: begin with nothing, whatever is there.
    """
    path = workspace / PHOTO_INDEX
    path.parent.mkdir(parents=True, exist_ok=True)
    if rebuild:
        path.unlink(missing_ok=True)
    try:
        database = _opened(path, registry)
    except sqlite3.DatabaseError:  # damaged, or of another kind: nothing is lost with it
        path.unlink(missing_ok=True)
        database = _opened(path, registry)
    try:
        yield PhotoIndex(database)
    finally:
        database.close()


def _opened(path: Path, registry: str) -> sqlite3.Connection:
    digest = digest_value(registry)  # not the URI itself: it may hold a password
    database = sqlite3.connect(path, timeout=60)
    database.executescript(SCHEMA)
    if database.execute("SELECT uri FROM source").fetchone() not in (None, (digest,)):
        for table in ("versions", "sets", "photos", "source"):
            database.execute(f"DELETE FROM {table}")
    if database.execute("SELECT uri FROM source").fetchone() is None:
        database.execute("INSERT INTO source VALUES (?)", (digest,))
    database.commit()
    return database


def _newest_first(client: "MlflowClient", whole: bool) -> Iterator[list[Any]]:
    token, size = None, 1000 if whole else PAGE
    while True:
        page = client.search_model_versions(max_results=size, order_by=["creation_timestamp DESC"], page_token=token)
        yield list(page)
        token = page.token
        if not token:
            return


def _photos(found: Any) -> list[tuple[str, int | None]] | str:
    """sha256 and perceptual hash of a version's photos; a sentence where they cannot be found out."""
    tag = found.tags.get(PHOTOS)
    try:
        rows = json.loads(tag) if tag is not None else _recorded(found)
        return [(_hex(sha256, 64), _bits(phash)) for sha256, phash in rows]
    except UserError as error:
        return str(error)
    except (ValueError, TypeError):
        return f"its tag '{PHOTOS}' cannot be read"


def _recorded(found: Any) -> list[tuple[str, str | None]]:
    """From the record, of a version that was registered without the tag or has more photos than one holds."""
    with tempfile.TemporaryDirectory() as folder:
        lineage = version_record(found, Path(folder))
        return [(photo["sha256"], photo.get("phash")) for photo in lineage["photos"]["files"]]


def _hex(text: Any, length: int) -> str:
    if not isinstance(text, str) or len(text) != length:
        raise ValueError(text)
    int(text, 16)
    return text


def _bits(phash: Any) -> int | None:
    """A perceptual hash as SQLite's signed integer of 64 bits."""
    if phash is None:
        return None
    value = int(_hex(phash, 16), 16)
    return value - (1 << 64) if value >= 1 << 63 else value
