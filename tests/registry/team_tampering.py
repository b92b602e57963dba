"""Tampering with the stores of a team: objects on S3 and rows of PostgreSQL, changed behind the registry's back."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text

from pipeline.lineage.links import Link
from pipeline.lineage.verify import verify
from pipeline.registry.lookup import find_record
from tests.lineage.tampering import MODEL, RECORD, SERVED
from tests.services.fixtures import Bucket

REF = "models:/mysks@challenger"


@dataclass
class TeamStores:
    """A bucket and a database with one registered version, seen from a clone; `undo` puts back what was touched."""

    clone: Path
    bucket: Bucket
    database: str
    before: dict[str, bytes | None] = field(default_factory=dict)
    tags_before: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.engine = create_engine(self.database)

    def links(self) -> list[Link]:
        with find_record(self.clone, REF) as found:
            self.lineage = found.lineage
            return verify(found.lineage, found.evidence(self.clone))

    def key(self, pattern: str) -> str:
        pages = self.bucket.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket.name)
        keys = [entry["Key"] for page in pages for entry in page["Contents"]]
        return min(key for key in keys if fnmatchcase(key, pattern))

    def read(self, key: str) -> bytes:
        content: bytes = self.bucket.client.get_object(Bucket=self.bucket.name, Key=key)["Body"].read()
        self.before.setdefault(key, content)
        return content

    def write(self, key: str, content: bytes) -> None:
        self.before.setdefault(key, None)
        self.bucket.client.put_object(Bucket=self.bucket.name, Key=key, Body=content)

    def remove(self, key: str) -> None:
        self.read(key)
        self.bucket.client.delete_object(Bucket=self.bucket.name, Key=key)

    def set_tag(self, key: str, value: str) -> None:
        with self.engine.begin() as connection:
            where = text("SELECT value FROM model_version_tags WHERE key = :key")
            self.tags_before.setdefault(key, connection.execute(where, {"key": key}).scalar_one())
            change = text("UPDATE model_version_tags SET value = :value WHERE key = :key")
            assert connection.execute(change, {"key": key, "value": value}).rowcount == 1

    def undo(self) -> None:
        for key, content in self.before.items():
            if content is None:
                self.bucket.client.delete_object(Bucket=self.bucket.name, Key=key)
            else:
                self.write(key, content)
        for key, value in dict(self.tags_before).items():
            self.set_tag(key, value)
        self.before.clear()
        self.tags_before.clear()


def bit(pattern: str, at: int, stores: TeamStores) -> None:
    key = stores.key(f"mlflow/{pattern}")
    content = bytearray(stores.read(key))
    content[at] ^= 1
    stores.write(key, bytes(content))


def changed(pattern: str, change: Callable[[Any], Any], stores: TeamStores) -> None:
    key = stores.key(f"mlflow/{pattern}")
    value = json.loads(stores.read(key))
    change(value)
    stores.write(key, json.dumps(value).encode())


def added(beside: str, name: str, stores: TeamStores) -> None:
    stores.write(f"{stores.key(f'mlflow/{beside}').rpartition('/')[0]}/{name}", b"planted")


def removed(pattern: str, stores: TeamStores) -> None:
    stores.remove(stores.key(f"mlflow/{pattern}"))


def dvc_object(name: str | None, stores: TeamStores, gone: bool = False) -> None:
    """One bit of a photo's object on DVC's remote, or of the list of photos (`name` is None)."""
    md5 = stores.lineage["photos"]["dvc_md5"]
    if name is not None:
        md5 = next(photo["md5"] for photo in stores.lineage["photos"]["files"] if photo["source"] == name)
    key = f"dvc/files/md5/{md5[:2]}/{md5[2:]}"
    content = bytearray(stores.read(key))
    content[20] ^= 1
    if gone:
        stores.remove(key)
    else:
        stores.write(key, bytes(content))


def tag(key: str, value: str, stores: TeamStores) -> None:
    stores.set_tag(key, value)


# What is changed, the link that is not verified any more, and a word of its detail that leads to the place.
TAMPERINGS: dict[str, tuple[Callable[[TeamStores], None], str, str]] = {
    "weights on S3": (partial(bit, f"{MODEL}/unet/*.safetensors", -1), "weights", "content digest"),
    "a config on S3": (partial(bit, f"{MODEL}/vae/config.json", -3), "model files", "vae/config.json"),
    "a file added on S3": (partial(added, f"{MODEL}/unet/config.json", "x.py"), "model files", "unet/x.py"),
    "a file removed on S3": (partial(removed, f"{MODEL}/tokenizer/tokenizer_config.json"), "model files", "missing"),
    "served code on S3": (partial(bit, f"{SERVED}/code/pipeline/sampling/sampler.py", 5), "served code", "sampler.py"),
    "the record on S3": (
        partial(changed, f"{RECORD}/lineage.json", lambda found: found["params"]["train"].update(steps=5)),
        "parameters", "digest"),
    "evaluation.json on S3": (
        partial(changed, f"{RECORD}/evaluation.json", lambda found: found.update(size=[1, 1])),
        "record files", "evaluation.json"),
    "dvc.lock removed on S3": (partial(removed, f"{RECORD}/dvc.lock"), "record files", "dvc.lock is missing"),
    "the report on S3": (partial(bit, "*/artifacts/report/*/index.html", 99), "report", "index.html"),
    "a photo on DVC's remote": (partial(dvc_object, "photo1.jpg"), "photo photo1.jpg", "remote"),
    "the list of photos on DVC's remote": (partial(dvc_object, None), "photos", "remote"),
    "a row of PostgreSQL: verdict": (partial(tag, "verdict", "Fit for promotion."), "evaluation", "verdict"),
    "a row of PostgreSQL: validation_status": (
        partial(tag, "validation_status", "approved"), "evaluation", "validation_status"),
    "a row of PostgreSQL: record_digest": (partial(tag, "record_digest", "0" * 64), "record", "version's tag"),
    "a row of PostgreSQL: photos": (partial(tag, "photos", "[]"), "tags", "photos"),
}  # fmt: skip


def missed(stores: TeamStores) -> list[str]:
    """The tamperings that `trace --verify` does not find, or does not name by their place."""
    found = []
    for name, (tamper, link, place) in TAMPERINGS.items():
        try:
            tamper(stores)
            broken = [item for item in stores.links() if item.state == "broken"]
            if not any(item.name == link and place in item.detail for item in broken):
                found.append(f"{name}: {[(item.name, item.detail) for item in broken]}")
        finally:
            stores.undo()
    return found
