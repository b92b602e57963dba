"""The one kind of error whose message is for the person at the keyboard, and the words that all messages share."""

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

TRY_AGAIN = 75  # exit status of a stage that could not go on for now; sysexits.h calls it EX_TEMPFAIL


# USER:PASSWORD@ and ?password=... in an address
CREDENTIALS = re.compile(r"(?<=://)[^/\s'\"]*@|(?<=[?&]password=)[^&\s'\"]*")


class UserError(Exception):
    """Something from outside is not as it must be: the message says what was found, where, and what to do.

    Commands print the message alone and exit with status 1; any other exception is a defect and keeps its trace.
    """

    status = 1


def first_line(error: BaseException, otherwise: str = "") -> str:
    """An error of another program in one line, without the passwords that addresses in it may hold.

    Args:
        otherwise: said of an error without a text; '': the name of its class.
    """
    lines = str(error).strip().splitlines() or [otherwise or type(error).__name__]
    return CREDENTIALS.sub("", lines[0])


def as_found(value: object, longest: int = 200) -> str:
    """A wrong value as a message shows it: as Python writes it, cut after `longest` characters."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python writes no whole number of thousands of digits out
        return "a value that is too long to be shown"
    return text if len(text) <= longest else f"{text[:longest]}..."


def counted(number: int, noun: str) -> str:
    """'1 photo', '2 photos'."""
    return f"{number} {noun}{'s' * (number != 1)}"


def in_units(size: float) -> str:
    """A number of bytes for a person, in powers of 1000: '512 B', '2.5 MB', '4.3 GB'."""
    number, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if number < 1000:
            break
        number, unit = number / 1000, larger
    return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"


def grouped(lines: Sequence[str]) -> list[str]:
    """Lines 'FILE: what is said of it', those that say the same as one: 'FILE (and 4 others): what is said of them'."""
    files: dict[str, list[str]] = {}
    for line in lines:
        file, colon, said = line.partition(": ")
        files.setdefault(said if colon else line, []).append(file)
    return [
        said if said in named else f"{named[0]}{_and_others(len(named) - 1)}: {said}" for said, named in files.items()
    ]


def _and_others(count: int) -> str:
    return f" (and {counted(count, 'other')})" if count else ""


def all_problems(what: str, problems: Sequence[str]) -> str:
    """'WHAT has 2 problems:', and under it each of them on a line of its own."""
    return "\n".join([f"{what} has {counted(len(problems), 'problem')}:", *(f"  {problem}" for problem in problems)])


def joined(parts: Sequence[str]) -> str:
    """'a, b and c'; `parts` holds at least one."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


class NotNow(UserError):
    """Something from outside did not answer, or somebody asked to stop: the same command may well succeed later."""

    status = TRY_AGAIN


_FULL = "free some (`dreamtrace clean` lists what can go), then run the same command again"
_REFUSED = "the file or its folder belongs to somebody else, or is protected"
# What the system can refuse to a program that did nothing wrong, by error number, and what to do about it.
_SYSTEM = {
    errno.ENOSPC: ("there is no space left on the disk", _FULL),
    errno.EDQUOT: ("the disk quota is used up", _FULL),
    errno.EFBIG: ("a file would become larger than its limit", "raise the limit (`ulimit -f`) or use another disk"),
    errno.EROFS: ("the disk can only be read", "use a folder that can be written to"),
    errno.EACCES: ("permission denied", _REFUSED),
    errno.EPERM: ("not permitted", _REFUSED),
    errno.EMFILE: ("too many open files", "raise the limit (`ulimit -n`)"),
    errno.EIO: ("the disk cannot be read or written", "look into the system's log"),
    errno.ENAMETOOLONG: ("the name is too long", "choose a shorter one"),
    errno.ENOMEM: ("there is not enough memory", "close other programs, then run the same command again"),
}
# Libraries that pass only a text on (SQLite, safetensors, DVC).
_TEXTS = {
    "no space left on device": errno.ENOSPC,
    "database or disk is full": errno.ENOSPC,
    "no usable temporary directory": errno.ENOSPC,
    "disk quota exceeded": errno.EDQUOT,
    "file too large": errno.EFBIG,
    "read-only file system": errno.EROFS,
    "attempt to write a readonly database": errno.EACCES,
    "disk i/o error": errno.EIO,
}


def system_failure(error: BaseException) -> UserError | None:
    """What the system refused (space, permission, memory), as a sentence; None for every other error."""
    for one in _chain(error):
        number = one.errno if isinstance(one, OSError) else None
        number = errno.ENOMEM if isinstance(one, MemoryError) else number
        if number not in _SYSTEM:
            said = str(one).lower()
            number = next((found for text, found in _TEXTS.items() if text in said), None)
        if number in _SYSTEM:
            what, then = _SYSTEM[number]
            where = getattr(one, "filename", None) or (_full_disks() if number == errno.ENOSPC else "")
            return UserError(f"{f'{where}: ' if where else ''}{what}: {then}")
    return None


def no_space() -> UserError | None:
    """The sentence of a full disk, where one of the folders that programs write to has less than a megabyte left.

    Some programs take long to find that out, and do not say it.
    """
    full = _full_disks()
    what, then = _SYSTEM[errno.ENOSPC]
    return UserError(f"{full}: {what}: {then}") if full else None


def _full_disks() -> str:
    """The folders that programs write to whose disk is full; a failed write does not say which it was."""
    found = []
    for place in (os.getcwd, tempfile.gettempdir, Path.home):
        with suppress(OSError, RuntimeError):
            folder = str(place())
            if shutil.disk_usage(folder).free < 1_000_000 and folder not in found:
                found.append(folder)
    return ", ".join(found)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those that it was raised from."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or found.__context__
