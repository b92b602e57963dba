"""Which registered versions saw which photo: an index beside the workspace, filled from the registry alone.

It holds nothing that the registry does not: it may be removed at any time, and is built again by the next question.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import NotNow
from pipeline.files import digest_value
from pipeline.layout import PHOTO_INDEX
from pipeline.photos.similarity import NEAR
from pipeline.registry.aliases import all_models
from pipeline.registry.version_photos import PhotosUnknown, version_photos

if TYPE_CHECKING:
    from mlflow import MlflowClient

TIMEOUT = 60  # seconds to wait for another process that writes the index
PAGE = 200  # versions looked at before the newest ones count as known
LAYOUT = 2  # of the tables; an index of another layout is rebuilt
SCHEMA = """
CREATE TABLE IF NOT EXISTS source (uri TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS models (name TEXT PRIMARY KEY, created INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS versions (
    id INTEGER PRIMARY KEY, model TEXT NOT NULL, version INTEGER NOT NULL, identity TEXT NOT NULL,
    set_id INTEGER, problem TEXT, lasting INTEGER NOT NULL DEFAULT 1,
    UNIQUE (model, version));
CREATE TABLE IF NOT EXISTS sets (id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS photos (set_id INTEGER NOT NULL, sha256 TEXT NOT NULL, phash INTEGER);
CREATE INDEX IF NOT EXISTS by_sha256 ON photos (sha256);
CREATE INDEX IF NOT EXISTS by_set ON versions (set_id);
"""


@dataclass(frozen=True)
class Sighting:
    """A version that was trained on a photo. `distance` is 0 for the file itself, else bits of 64 that differ.

    `others` are the sha256 of further photos of this version that look like the one asked about.
    """

    model: str
    version: str
    sha256: str
    exact: bool
    distance: int
    others: tuple[str, ...] = field(default=())

    @property
    def all_sha256(self) -> tuple[str, ...]:
        """Every photo of this version that is, or looks like, the one asked about; the nearest first."""
        return (self.sha256, *self.others)


@dataclass(frozen=True)
class Unresolved:
    """A version whose photos cannot be told from here."""

    model: str
    version: str
    problem: str


class IndexBusy(NotNow):
    """Another process holds the index."""


class PhotoIndex:
    """The index of one registry. Use `open_index`."""

    def __init__(self, database: sqlite3.Connection):
        self.database = database

    def update(self, client: "MlflowClient") -> int:
        """Take in the versions that are new since the last time, the newest first; returns how many were.

        All or nothing: cut off in between, the next call begins where this one began.
        """
        anew = self._made_anew(client)
        rows = self.database.execute("SELECT model, version, identity, lasting FROM versions")
        known = {(model, version): (identity, lasting) for model, version, identity, lasting in rows}
        retry = {key for key, (_, lasting) in known.items() if not lasting}
        added = 0
        for page in _newest_first(client, whole=anew or not known):
            fresh = [found for found in page if known.get(_key(found), ("", 0))[0] != identity_of(found)]
            for found in fresh:
                self._add(found)
                retry.discard(_key(found))
            added += len(fresh)
            if not fresh and not anew:
                break
        for model, version in sorted(retry):
            self._retry(client, model, version)
        self.database.commit()
        return added

    def _made_anew(self, client: "MlflowClient") -> bool:
        """Whether models were deleted, made again or renamed, so that old versions may be new to the index; what is
        known of a name that is another model's now, or nobody's, is dropped.
        """
        before = dict(self.database.execute("SELECT name, created FROM models").fetchall())
        now = {model.name: int(model.creation_timestamp) for model in all_models(client)}
        other = {name for name, created in before.items() if now.get(name) != created}
        for name in other:
            self.database.execute("DELETE FROM versions WHERE model = ?", (name,))
        self.database.execute("DELETE FROM models")
        self.database.executemany("INSERT INTO models VALUES (?, ?)", sorted(now.items()))
        return bool(other) or bool(now.keys() - before.keys())  # a new name may be a new one of a known model

    def check(self, found: Any) -> bool:
        """Whether the index means this very version; it is read again where the registry was recreated."""
        row = self.database.execute(
            "SELECT identity FROM versions WHERE model = ? AND version = ?", (found.name, int(found.version))
        ).fetchone()
        if row and row[0] == identity_of(found):
            return True
        self._add(found)
        self.database.commit()
        return False

    def find(self, sha256: str | None, phash: int | None) -> list[Sighting]:
        """Versions that saw the file with this digest, and those that saw a photo that looks like it."""
        found: dict[tuple[str, int], list[tuple[str, int, bool]]] = {}
        matches = [(sha256, 0, True)] if sha256 else []
        if phash is not None:
            matches += [(digest, bits, False) for digest, bits in self._near(phash) if digest != sha256]
        for digest, bits, exact in matches:
            rows = self.database.execute(
                "SELECT DISTINCT model, version FROM photos JOIN versions USING (set_id) WHERE sha256 = ?", (digest,)
            )
            for model, version in rows:
                found.setdefault((model, version), []).append((digest, bits, exact))
        return [
            Sighting(model, str(version), seen[0][0], seen[0][2], seen[0][1], tuple(row[0] for row in seen[1:]))
            for (model, version), seen in sorted(found.items())
        ]

    def phash_of(self, sha256: str) -> int | None:
        """The perceptual hash of a photo that some version saw."""
        row = self.database.execute(
            "SELECT phash FROM photos WHERE sha256 = ? AND phash IS NOT NULL", (sha256,)
        ).fetchone()
        return None if row is None else int(row[0]) & (1 << 64) - 1

    def unresolved(self) -> list[Unresolved]:
        """Versions whose photos could not be determined."""
        rows = self.database.execute(
            "SELECT model, version, problem FROM versions WHERE problem IS NOT NULL ORDER BY model, version"
        )
        return [Unresolved(model, str(version), problem) for model, version, problem in rows]

    def without_hash(self) -> int:
        """Number of photos recognised by exact copies only: their records are older than the perceptual hash."""
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
        set_id, problem, lasting = None, None, True
        try:
            photos = [(row["sha256"], _bits(row["phash"])) for row in version_photos(found)]
            set_id = self._set(photos)
        except PhotosUnknown as error:
            problem, lasting = str(error), error.lasting
        self.database.execute(
            "INSERT OR REPLACE INTO versions (model, version, identity, set_id, problem, lasting) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (found.name, int(found.version), identity_of(found), set_id, problem, lasting),
        )

    def _retry(self, client: "MlflowClient", model: str, version: int) -> None:
        """A record that could not be read is tried again at every question."""
        from mlflow.exceptions import MlflowException

        try:
            self._add(client.get_model_version(model, str(version)))
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                self.database.execute("DELETE FROM versions WHERE model = ? AND version = ?", (model, version))

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


def identity_of(found: Any) -> str:
    """What tells a version from another one of the same name and number, in a recreated registry."""
    tags = found.tags or {}
    return f"{found.run_id}:{tags.get('content_digest')}:{found.creation_timestamp}"


@contextmanager
def open_index(workspace: Path, registry: str, rebuild: bool = False) -> Iterator[PhotoIndex]:
    """The index of the registry at a URI, kept in the workspace; that of another registry is replaced.

    Args:
        rebuild: begin with nothing, whatever is there.

    Raises:
        IndexBusy: another process has kept it locked for a minute.
    """
    path = workspace / PHOTO_INDEX
    path.parent.mkdir(parents=True, exist_ok=True)
    if rebuild:
        path.unlink(missing_ok=True)
    try:
        database = _opened(path, registry)
    except sqlite3.DatabaseError as error:
        if _locked(error):
            raise IndexBusy(f"{path} is in use by another process; run the command again") from None
        # damaged, or of another kind: nothing is lost with it
        path.unlink(missing_ok=True)
        database = _opened(path, registry)
    try:
        yield PhotoIndex(database)
    except sqlite3.OperationalError as error:
        if _locked(error):
            raise IndexBusy(f"{path} is in use by another process; run the command again") from None
        raise
    finally:
        database.close()


def _opened(path: Path, registry: str) -> sqlite3.Connection:
    digest = digest_value(registry)  # not the URI itself: it may hold a password
    database = sqlite3.connect(path, timeout=TIMEOUT)
    (state,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if state != "ok":
        raise sqlite3.DatabaseError(state)
    (layout,) = database.execute("PRAGMA user_version").fetchone()
    if layout != LAYOUT:
        for table in ("versions", "sets", "photos", "source", "models"):
            database.execute(f"DROP TABLE IF EXISTS {table}")
        database.execute(f"PRAGMA user_version = {LAYOUT}")
    database.executescript(SCHEMA)
    if database.execute("SELECT uri FROM source").fetchone() not in (None, (digest,)):
        for table in ("versions", "sets", "photos", "source", "models"):
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


def _key(found: Any) -> tuple[str, int]:
    return found.name, int(found.version)


def _locked(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _bits(phash: str | None) -> int | None:
    """A perceptual hash as SQLite's signed integer of 64 bits."""
    if phash is None:
        return None
    value = int(phash, 16)
    return value - (1 << 64) if value >= 1 << 63 else value
