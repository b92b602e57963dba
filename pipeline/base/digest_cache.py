"""Digests of large base folders, remembered by what the file system says of their files.

A base of gigabytes is looked at by every stage. Path, size, inode and both times of change of each file decide whether
it is the one that was read before; the time of the inode's last change cannot be set back by a copy or by `touch`.
Verification does not ask here: it reads the files.
"""

import json
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.files import digest_value, write_json

LARGE = 64 << 20  # bytes; smaller folders are read in a moment
FRESH = 2.0  # seconds; a file that changed just now may change again within the clock's grain
KEPT = 100  # folders


def cached_digest(files: Iterable[Path], key: Any, compute: Callable[[], str]) -> str:
    """`compute()`, or what it returned when the files were what they are now.

    Args:
        files: all that the digest depends on.
        key: what else it depends on (a JSON value).
        compute: reads the files.
    """
    found = [(path.resolve(), path.stat()) for path in files]
    newest = max((max(state.st_mtime, state.st_ctime) for _, state in found), default=0.0)
    if sum(state.st_size for _, state in found) < LARGE or time.time() - newest < FRESH:
        return compute()
    facts = [[str(path), one.st_size, one.st_ino, one.st_mtime_ns, one.st_ctime_ns] for path, one in found]
    name, place = digest_value([key, facts]), cache_file()
    known = _read(place)
    if name not in known:
        known[name] = compute()
        _write(place, dict(list(known.items())[-KEPT:]))
    return known[name]


def cache_file() -> Path:
    """Where digests are remembered: below XDG_CACHE_HOME, for this user."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "dreamtrace" / "base-digests.json"


def _read(place: Path) -> dict[str, str]:
    try:
        known = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) and all(isinstance(one, str) for one in known.values()) else {}


def _write(place: Path, known: dict[str, str]) -> None:
    with suppress(OSError):  # a home that cannot be written costs time, nothing else
        write_json(place, known)
