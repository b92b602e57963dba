"""Photos that come as a zip file: unpacked into a folder, with every name and size looked at first."""

import shutil
import stat
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from pipeline.errors import UserError, in_units
from pipeline.files import whole_folder
from pipeline.photos.file_kinds import MASKS, is_clutter, printable

LONGEST = 255  # bytes of a file's name


class ArchiveError(UserError):
    """The zip file cannot be unpacked; the message names it."""


def unpack(archive: Path, target: Path, most_files: int, most_bytes: int) -> None:
    """Unpack a zip file into `target`, which is replaced as a whole.

    Hidden files and what file managers add stay behind; a single folder around everything is taken off.

    Raises:
        ArchiveError: not a zip file, damaged, encrypted, with links or names that lead outside, or too large.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = [entry for entry in opened.infolist() if not entry.is_dir() and not _clutter(entry.filename)]
            size = sum(entry.file_size for entry in entries)
            if len(entries) > most_files or size > most_bytes:
                raise ArchiveError(
                    f"{archive} holds {len(entries)} files of {in_units(size)}, more than {most_files:,} files or "
                    f"{in_units(most_bytes)}"
                )
            names = _names(archive, entries)
            with whole_folder(target) as fresh:
                for entry, name in zip(entries, names, strict=True):
                    (fresh / name).parent.mkdir(parents=True, exist_ok=True)
                    with opened.open(entry) as packed, (fresh / name).open("xb") as file:
                        shutil.copyfileobj(packed, file)
    except FileExistsError as error:
        raise ArchiveError(f"{archive} holds {printable(Path(error.filename).name)} twice") from None
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise ArchiveError(f"{archive} cannot be unpacked: {error}") from None
    except OSError as error:
        raise ArchiveError(f"{archive} cannot be unpacked: {error.strerror or error}") from None


def _names(archive: Path, entries: Iterable[zipfile.ZipInfo]) -> list[PurePosixPath]:
    """Where each entry goes below the target.

    Raises:
        ArchiveError: entries are encrypted, are links, or lead outside; it lists them all.
    """
    entries = list(entries)
    names = [PurePosixPath(entry.filename.replace("\\", "/")) for entry in entries]
    found = [_problem(entry, name) for entry, name in zip(entries, names, strict=True)]
    if problems := [f"  {problem}" for problem in found if problem]:
        raise ArchiveError("\n".join([f"{archive} cannot be taken as photos:", *problems]))
    around = {name.parts[0] for name in names}
    if len(around) == 1 and all(len(name.parts) > 1 for name in names) and around != {MASKS}:
        names = [PurePosixPath(*name.parts[1:]) for name in names]
    return names


def _problem(entry: zipfile.ZipInfo, name: PurePosixPath) -> str | None:
    shown = printable(entry.filename)
    if entry.flag_bits & 1:
        return f"{shown}: is encrypted; unpack the archive, and name the folder"
    if stat.S_ISLNK(entry.external_attr >> 16):
        return f"{shown}: is a link; put the file itself there"
    if name.is_absolute() or ".." in name.parts or ":" in name.parts[0] or len(name.name.encode()) > LONGEST:
        return f"{shown}: is a name that leads outside or is too long"
    return None


def _clutter(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return any(is_clutter(part) for part in parts if part not in ("..", "/"))
