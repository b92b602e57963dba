"""What in the settings for DVC stops a run, or keeps photos out of its record."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.layout import DATA
from pipeline.lineage.digests import ignored_by_dvc
from pipeline.photos.file_kinds import printable, scan_folder

SHOWN = 5  # names in a message


def dvc_problems(workspace: Path) -> Iterator[str]:
    """Files with settings that DVC cannot read, and photos that `.dvcignore` hides from it; each a sentence."""
    if not (workspace / ".dvc").is_dir():
        return
    unreadable = list(_unreadable(workspace))
    yield from unreadable
    if not unreadable:
        yield from _hidden(workspace / DATA)


def _unreadable(workspace: Path) -> Iterator[str]:
    from dvc.config import Config
    from dvc.dirs import global_config_dir, system_config_dir

    folders = (system_config_dir(), global_config_dir(), workspace / ".dvc")
    for file in (*(Path(folder) / "config" for folder in folders), workspace / ".dvc" / "config.local"):
        try:
            if file.is_file():
                Config.validate(Config.load_file(str(file)))
        except Exception as error:  # of DVC, of its parser, of its schema, of the disk
            yield f"{file}: DVC cannot read these settings: {' '.join(str(error).split())}; correct the file"


def _hidden(data: Path) -> Iterator[str]:
    if not data.is_dir():
        return
    kinds, _ = scan_folder(data)
    names = [*kinds.photos, *kinds.masks, *kinds.captions, *kinds.metadata]
    if hidden := ignored_by_dvc(data, names):
        shown = ", ".join(printable(name) for name in hidden[:SHOWN])
        more = f" and {len(hidden) - SHOWN} more" if len(hidden) > SHOWN else ""
        yield (
            f"{DATA}: .dvcignore hides {shown}{more} from DVC: no record, no push and no clone would have what was "
            "trained on; take the pattern out of .dvcignore, or the files out of the folder"
        )
