"""Reading DVC's objects by digest, from the cache or the remote, and never believing their names."""

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any


class Objects:
    """The objects of a workspace's DVC repository: its cache first, then its default remote, whatever kind that is."""

    def __init__(self, workspace: Path):
        self.stores = _stores(workspace)

    def read(self, md5: str) -> bytes | str | None:
        """The bytes with this md5; a sentence where every copy is damaged; None where there is none."""
        damaged = None
        for name, store in self.stores:
            if not md5:
                break
            path = store.oid_to_path(md5)
            try:
                if not store.fs.exists(path):
                    continue
                content = store.fs.cat_file(path)
            except OSError:
                continue
            found = hashlib.md5(content, usedforsecurity=False).hexdigest()
            if found == md5.removesuffix(".dir"):
                return bytes(content)
            damaged = f"{name} holds other bytes under {md5} (md5 {found}): the object was changed"
        return damaged

    def folder(self, md5: str) -> dict[str, str] | str | None:
        """md5 by path of the files in a tracked folder `<md5>.dir`; a sentence or None as in `read`."""
        content = self.read(md5)
        if not isinstance(content, bytes):
            return content
        return {entry["relpath"]: entry["md5"] for entry in json.loads(content)}


def _stores(workspace: Path) -> list[tuple[str, Any]]:
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        repo = Repo(str(workspace))
    except DvcException:
        return []
    stores: list[tuple[str, Any]] = [("DVC's cache", repo.cache.local)]
    with suppress(DvcException):  # no default remote
        stores.append(("DVC's remote", repo.cloud.get_remote_odb()))
    return stores
