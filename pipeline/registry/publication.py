"""The champion on S3: brought there when it is promoted, taken back when it is withdrawn."""

from collections.abc import Iterable
from pathlib import Path

from pipeline.errors import UserError
from pipeline.layout import PARAMS
from pipeline.params import load_params
from pipeline.registry.lookup import find_record
from pipeline.registry.promotion import champion_of
from pipeline.registry.store import connect
from pipeline.storage.publish import Published, publish, retract
from pipeline.storage.s3 import read_url


class NothingToPublish(UserError):
    """There is no champion, or its weights are not to be had here."""


def place_of(workspace: Path) -> str | None:
    """Where the champions of a workspace go (`publish.to`); None where they stay.

    Raises:
        ParamsError: params.yaml cannot be used.
    """
    return load_params(workspace / PARAMS).publish.to if (workspace / PARAMS).is_file() else None


def publish_champion(workspace: Path, name: str, to: str, by: str) -> Published:
    """Bring the champion of the registered model `name` to `s3://bucket/prefix`, and point there to it.

    Raises:
        NothingToPublish: no champion, or without weights or record.
        Lost: somebody else has moved the champion in the meantime.
        StorageError: S3 refuses or does not answer; called again, it goes on where it was cut off.
    """
    place, client = read_url(to), connect(workspace)
    version = champion_of(client, name)
    if version is None:
        raise NothingToPublish(f"{name} has no champion: `dreamtrace promote` makes one")
    with find_record(workspace, f"models:/{name}/{version}") as found:
        if found.model is None or found.files is None:
            raise NothingToPublish(f"the weights or the record of {found.title} are not to be had here")
        facts = {
            "model": name,
            "version": version,
            "content_digest": str(found.lineage["weights"]["content_digest"]),
            "token": str(found.lineage["subject"]["token"]),
            "class_noun": str(found.lineage["subject"]["class_noun"]),
            "by": by,
        }
        folders = {"model": found.model, "record": found.files}
        return publish(place, facts, folders, lambda: champion_of(client, name) == version)


def retract_versions(to: str, versions: Iterable[tuple[str, str]], why: str) -> list[str]:
    """Take back what S3 points to of these (model, version); returns the models of which that was the champion.

    Raises:
        StorageError: S3 refuses or does not answer.
    """
    place = read_url(to)
    return [model for model, version in versions if retract(place, model, version, why)]


def told(done: Published, to: str) -> str:
    """What came of it, in one sentence."""
    pointer = done.pointer
    name, where = f"{pointer['model']} version {pointer['version']}", f"{to.rstrip('/')}/{pointer['model']}"
    if not done.moved:
        return f"{where} has {name} already."
    return f"{where} is {name} now ({done.sent / 1e6:.1f} MB sent)."
