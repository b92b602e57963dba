"""Reading DVC's objects by digest, from the cache and the remote, without trusting their names."""

import hashlib
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import first_line
from pipeline.network.reachable import endpoint_of_s3, silence

CACHE, REMOTE = "DVC's cache", "DVC's remote"
AT_ONCE = 16  # requests to a remote


@dataclass(frozen=True)
class Copies:
    """What the stores hold under one digest.

    `sha256` is that of the right bytes, None where no store has them; `content` are these bytes, where they were asked
    for. `damaged` and `silent` have a sentence for each store
    that holds other bytes, and for each that could not be asked; a good copy elsewhere does not hide them.
    """

    sha256: str | None
    content: bytes | None = None
    damaged: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()

    @property
    def missing(self) -> str:
        """Why there is no content."""
        return "; ".join((*self.damaged, *self.silent)) or "neither in DVC's cache nor in its remote"


class Objects:
    """The objects of a workspace's DVC repository: its cache, and its default remote, whatever kind that is."""

    def __init__(self, workspace: Path):
        self.stores, self.silent = _stores(workspace)
        for name, store in self.stores:
            address = endpoint_of(store.fs)
            if address and (reason := silence(address)) is not None:
                self.silent[name] = f"{name} could not be read: {address} does not answer: {reason}"

    def read(self, md5: str) -> Copies:
        """Every store's copy of one object, each compared with its digest."""
        return self._look(md5, keep=True)

    def digest_all(self, md5s: Iterable[str]) -> dict[str, Copies]:
        """The same for many objects, several at a time, without their contents."""
        wanted = list(dict.fromkeys(md5s))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return dict(zip(wanted, pool.map(lambda md5: self._look(md5, keep=False), wanted), strict=True))

    def _look(self, md5: str, keep: bool) -> Copies:
        sha256, content, damaged = None, None, []
        for name, store in self.stores:
            found = self._from_store(name, store, md5)
            if found is None:
                continue
            actual = hashlib.md5(found, usedforsecurity=False).hexdigest()
            if actual == md5.removesuffix(".dir"):
                sha256 = hashlib.sha256(found).hexdigest()
                content = found if keep else None
            else:
                damaged.append(f"{name} holds other bytes under {md5} (their md5 is {actual}): the object was changed")
        return Copies(sha256, content, tuple(damaged), tuple(self.silent.values()))

    def folder(self, md5: str) -> "Folder":
        """The list of a tracked folder `<md5>.dir`."""
        copies = self.read(md5)
        if copies.content is None:
            return Folder(None, copies)
        return Folder({entry["relpath"]: entry["md5"] for entry in json.loads(copies.content)}, copies)

    def cached_lists(self) -> list[Path]:
        """The lists of all tracked folders in DVC's cache."""
        return [path for name, store in self.stores if name == CACHE for path in Path(store.path).rglob("*.dir")]

    def _from_store(self, name: str, store: Any, md5: str) -> bytes | None:
        """A store's bytes; None where it has none, or where it did not answer before."""
        if not md5 or name in self.silent:
            return None
        try:
            return bytes(store.fs.cat_file(store.oid_to_path(md5)))
        except FileNotFoundError:
            return None
        # Each kind of remote has errors of its own; whatever happened, the answer is "unknown", never "good".
        except Exception as error:
            reason = first_line(error)
            self.silent[name] = f"{name} could not be read: {reason}"
            return None


def endpoint_of(filesystem: Any) -> str | None:
    """The address of the server behind a DVC filesystem, where it is of HTTP or of an S3 that is not Amazon's."""
    settings = getattr(filesystem, "config", None) or {}
    if filesystem.protocol == "s3":
        return settings.get("endpointurl") or endpoint_of_s3()
    return settings.get("url") if filesystem.protocol in ("http", "https") else None


@dataclass(frozen=True)
class Folder:
    """A tracked folder: md5 by path, None where no store has the list; and the copies of the list itself."""

    entries: dict[str, str] | None
    copies: Copies = field(default_factory=lambda: Copies(None))


def _stores(workspace: Path) -> tuple[list[tuple[str, Any]], dict[str, str]]:
    """The stores by name; and a sentence for each that there is and that cannot be opened."""
    from dvc.config import NoRemoteError
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        repo = Repo(str(workspace))
    except DvcException as error:
        return [], {"the repository": f"there is no DVC repository here ({first_line(error)})"}
    stores: list[tuple[str, Any]] = [(CACHE, repo.cache.local)]
    try:
        stores.append((REMOTE, repo.cloud.get_remote_odb()))
    except NoRemoteError:
        return stores, {}
    # Settings that DVC refuses, a plugin that is not installed, and whatever else a kind of remote may raise.
    except Exception as error:
        return stores, {REMOTE: f"{REMOTE} could not be read: {first_line(error)}"}
    return stores, {}
