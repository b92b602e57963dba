"""A stand-in for the Hugging Face hub: it makes repositories and takes commits, with large files by LFS."""

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.services.loopback import on_loopback


@dataclass
class Hub:
    """What it holds: files by repository, whether each is private, and what it was asked."""

    address: str
    token: str = "hf_right"
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    uploads: int = 0
    failing: bool = False


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *_: Any) -> None:
        """Nothing is printed."""

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            found = b""
            while size := int(self.rfile.readline().strip() or b"0", 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            return found
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, value: Any, status: int = 200) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_PUT(self) -> None:
        content = self._body()
        self.hub.objects[hashlib.sha256(content).hexdigest()] = content
        self.hub.uploads += 1
        self._answer({})

    def do_GET(self) -> None:
        name, _, place = self.path.removeprefix("/api/models/").partition("?")[0].partition("/tree/")
        if place:
            files = self.hub.repositories[name]
            self._answer([{"type": "file", "path": path, "size": len(files[path]), "oid": ""} for path in files])
            return
        known = name in self.hub.repositories
        self._answer({"id": name, "siblings": []} if known else {"error": "not found"}, 200 if known else 404)

    def do_POST(self) -> None:
        content, hub = self._body(), self.hub
        if hub.failing:
            self._answer({"error": "maintenance"}, 503)
        elif self.headers.get("Authorization") != f"Bearer {hub.token}":
            self._answer({"error": "Invalid credentials"}, 401)
        elif self.path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif self.path == "/api/repos/create":
            asked = json.loads(content)
            name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
            known = name in hub.repositories
            hub.repositories.setdefault(name, {})
            hub.private.setdefault(name, bool(asked.get("private", asked.get("visibility") == "private")))
            self._answer({"url": f"{hub.address}/{name}"}, 409 if known else 200)
        elif self.path.endswith("/preupload/main"):
            large = [{**one, "uploadMode": "lfs" if one["path"].endswith(".safetensors") else "regular"}
                     for one in json.loads(content)["files"]]  # fmt: skip
            self._answer(
                {
                    "files": [
                        {"path": one["path"], "uploadMode": one["uploadMode"], "shouldIgnore": False} for one in large
                    ]
                }
            )
        elif self.path.endswith("/info/lfs/objects/batch"):
            wanted = json.loads(content)["objects"]
            upload = {"upload": {"href": f"{hub.address}/upload"}}
            self._answer({"transfer": "basic", "objects": [
                {**one, **({} if one["oid"] in hub.objects else {"actions": upload})} for one in wanted
            ]})  # fmt: skip
        elif "/commit/" in self.path:
            name = self.path.split("/api/models/")[1].split("/commit/")[0]
            for line in content.splitlines():
                row = json.loads(line)
                value = row["value"]
                if row["key"] == "file":
                    hub.repositories[name][value["path"]] = base64.b64decode(value["content"])
                elif row["key"] == "deletedFile":
                    del hub.repositories[name][value["path"]]
                elif row["key"] == "lfsFile":
                    hub.repositories[name][value["path"]] = hub.objects[value["oid"]]
            commit = hashlib.sha1(content, usedforsecurity=False).hexdigest()
            self._answer({"success": True, "commitOid": commit, "commitUrl": f"{hub.address}/{name}/commit/{commit}"})
        else:
            self._answer({"error": f"no {self.path}"}, 404)


@contextmanager
def stand_in_hub() -> Iterator[Hub]:
    """A hub on a loopback port until the block ends."""
    with on_loopback(_Handler) as address:
        _Handler.hub = Hub(address)
        yield _Handler.hub
