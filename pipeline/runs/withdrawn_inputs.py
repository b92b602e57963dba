"""Photos and a base that were withdrawn, seen before a training on them: what it makes would be withdrawn, too."""

from pathlib import Path

from pipeline.base.resolve import is_path, resolve_base
from pipeline.errors import UserError
from pipeline.files import digest_file
from pipeline.layout import DATA
from pipeline.params import Params
from pipeline.photos.file_kinds import scan_folder
from pipeline.registry.answers import answer_or_reason
from pipeline.registry.store import connect, has_store
from pipeline.registry.versions import withdrawn_version
from pipeline.registry.withdrawn_photos import withdrawn_photos

OUTCOME = "a version that is trained on it is withdrawn, too, and no promotion takes it"


def withdrawn_inputs(workspace: Path, params: Params, run: Path | None = None) -> list[str]:
    """A sentence for each photo in `data/` that was withdrawn (the very file), and for a base that is a folder of this
    machine with a withdrawn version; or one that nobody can tell now. Nothing where there is no registry.

    Args:
        workspace: whose registry is asked.
        run: the folder whose `data/` is looked at, where that is another one.
    """
    if not has_store(workspace):
        return []
    answer, unknown = answer_or_reason(lambda: _withdrawn(workspace, params, (run or workspace) / DATA))
    if answer is None:
        return [f"whether photos or the base were withdrawn is unknown: {unknown}"]
    gone, base = answer
    found = [f"{DATA / name} was withdrawn: {OUTCOME}; leave it out" for name in gone]
    if base:
        found.append(f"base.model '{params.base.model}' is {base}, which was withdrawn: {OUTCOME}; take another base")
    return found


def _withdrawn(workspace: Path, params: Params, data: Path) -> tuple[list[str], str]:
    """The names of withdrawn photos in the folder `data`, and the withdrawn version that the base is, or ''."""
    client = connect(workspace)
    photos = withdrawn_photos(client, params.register_.model)
    names = scan_folder(data)[0].photos if photos and data.is_dir() else []
    gone = [name for name in names if digest_file(data / name) in photos]
    return gone, withdrawn_version(client, _digest(params)) if is_path(params.base.model) else ""


def _digest(params: Params) -> str:
    """The digest of the base's content; '' where it cannot be used, which other checks tell."""
    try:
        return resolve_base(params.base).digest
    except UserError:
        return ""
