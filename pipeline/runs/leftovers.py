"""What killed, cancelled and failed work left behind: found, weighed, and removed where nothing is lost by it."""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import first_line
from pipeline.files import REMOVED, SCRATCH
from pipeline.layout import (
    DATA,
    DRAWN,
    PARAMS,
    STATE,
)
from pipeline.registry.publication import publish_to
from pipeline.registry.store import told
from pipeline.registry.unused_parts import parts_nobody_needs, remove_part
from pipeline.runs.dvc_locks import is_at_work, is_held
from pipeline.runs.workspaces import LOCK, MAKING, MARK, RUNS, has_result, how_to_finish, is_kept, occupied
from pipeline.storage.published import is_ours
from pipeline.storage.s3 import Store, read_url
from pipeline.training.finished import CHECKPOINTS, finished_run, run_taken_in

HOUR_S, DAY_S = 3600.0, 86400.0
# What `files.whole_folder` and `files.write_bytes` write beside the place they write for.
HALF_WRITTEN = re.compile(r"^\.(?P<name>.+)\.[a-z0-9_]{8}(?P<old>\.old)?$")
SCRATCH_NAME = re.compile(rf"{SCRATCH}[a-z0-9_]{{8}}")  # what `files.scratch_folder` makes
SOMEBODYS = (".git", ".dvc", "dvc.yaml", str(PARAMS), str(STATE))  # in the folders where people work


@dataclass(frozen=True)
class Leftover:
    """Something to remove: where it is, its bytes, why nobody misses it, and what removes it.

    `still` says just before whether that still holds.
    """

    where: str
    size: int
    why: str
    remove: Callable[[], None]
    still: Callable[[], bool]


@dataclass(frozen=True)
class Kept:
    """Something that looks like a leftover and stays, because it may be the only copy."""

    where: str
    size: int
    why: str


@dataclass(frozen=True)
class Leftovers:
    """What was found; `problems` are places that could not be searched."""

    found: list[Leftover]
    kept: list[Kept]
    problems: list[str]

    @property
    def size(self) -> int:
        """Bytes that would be free."""
        return sum(item.size for item in self.found)


def find_leftovers(workspace: Path, days: float) -> Leftovers:
    """Everything that was left behind in a workspace, in the temporary folder and where champions are published.

    Nothing that a run goes on with is touched while one, or DVC, works in the workspace. Half-written files count after
    an hour, scratch folders, clones and uploads after a day, what somebody might still
    go on with (checkpoints, pictures, failed runs) after `days` without a change.
    """
    of_runs = [_half_written(workspace), _checkpoints(workspace, days), _drawn(workspace, days)]
    searches: list[Iterator[Leftover | Kept]] = [
        *([] if is_at_work(workspace) else of_runs),
        _scratch(workspace),
        _runs(workspace / RUNS, days),
        _uploads(workspace),
        _parts(workspace),
    ]
    items: list[Leftover | Kept] = []
    problems: list[str] = []
    for search in searches:
        try:
            items += search
        except Exception as error:  # of the registry, of S3, of a file that somebody damaged: the rest is searched
            problems.append(_said(error))
    return Leftovers(
        [item for item in items if isinstance(item, Leftover)],
        [item for item in items if isinstance(item, Kept)],
        problems,
    )


def remove_leftovers(leftovers: Leftovers) -> tuple[int, list[str]]:
    """Remove them; returns the bytes that are free now, and a sentence for each that stayed."""
    freed, problems = 0, []
    for item in leftovers.found:
        try:
            if not item.still():
                problems.append(f"{item.where} is in use again, or gone, and was left alone")
                continue
            item.remove()
        except Exception as error:  # what is free by now is told, whatever stops the next one
            problems.append(f"{item.where} could not be removed: {_said(error)}")
        else:
            freed += item.size
    return freed, problems


def _said(error: Exception) -> str:
    known = told(error)
    return str(known) if known else f"{type(error).__name__}: {first_line(error)}"


def _half_written(workspace: Path) -> Iterator[Leftover | Kept]:
    rooms = [*_folders(workspace / "artifacts"), *_folders(workspace / "reports"), *_folders(workspace / STATE)]
    for folder in [*rooms, workspace, workspace / DATA]:
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            match = HALF_WRITTEN.match(path.name)
            if not match or path.is_symlink() or _idle_s(path) < HOUR_S:
                continue
            target = folder / match["name"]
            if folder in (workspace, workspace / DATA) and not (target.is_file() and _ours(folder, workspace, target)):
                continue
            if target.exists():
                what = "the version before" if match["old"] else "half-written"
                yield _of_workspace(workspace, path, f"{what}, {target.name} is there", HOUR_S)
            else:
                yield Kept(str(path), _size(path), f"{target} is missing, so this may be the only copy: look into it")


def _ours(folder: Path, workspace: Path, target: Path) -> bool:
    """Of the folders where people work, only files that commands write are looked at."""
    return folder != workspace or target.name == PARAMS.name


def _folders(root: Path) -> Iterator[Path]:
    """A folder and those below it, but for runs (they are looked at as a whole) and what is half-written itself."""
    if not root.is_dir() or root.is_symlink():
        return
    yield root
    for path in sorted(root.iterdir()):
        if path.is_dir() and not path.is_symlink() and path.name != RUNS.name and not HALF_WRITTEN.match(path.name):
            yield from _folders(path)


def _checkpoints(workspace: Path, days: float) -> Iterator[Leftover]:
    taken_in = run_taken_in(workspace)
    for folder in _below(workspace / CHECKPOINTS):
        done = folder.name.endswith(REMOVED) or (taken_in is not None and finished_run(folder) == taken_in)
        idle = _idle_s(folder)
        if done and idle >= HOUR_S:
            yield _of_workspace(workspace, folder, "checkpoints of a training that is finished", HOUR_S)
        elif not done and idle >= days * DAY_S:
            why = f"checkpoints of a training that nobody went on with for {_days(idle)}"
            yield _of_workspace(workspace, folder, why, days * DAY_S)


def _drawn(workspace: Path, days: float) -> Iterator[Leftover]:
    for folder in [*_below(workspace / DRAWN), workspace / STATE / "select"]:
        if folder.is_dir() and (idle := _idle_s(folder)) >= days * DAY_S:
            yield _of_workspace(workspace, folder, f"of a stage that was stopped {_days(idle)} ago", days * DAY_S)


def _scratch(workspace: Path) -> Iterator[Leftover]:
    for path in sorted(Path(tempfile.gettempdir()).glob(f"{SCRATCH}*")):
        if _is_scratch(path, workspace) and _idle_s(path) >= DAY_S:
            yield _path(path, "scratch folder of a command that was killed", DAY_S)


def _is_scratch(path: Path, workspace: Path) -> bool:
    """Whether a folder was made by `files.scratch_folder` for this user: no place where somebody works."""
    try:
        own = path.is_dir() and not path.is_symlink() and path.stat().st_uid == os.getuid()
        if not own or SCRATCH_NAME.fullmatch(path.name) is None:
            return False
        return not (
            workspace.resolve().is_relative_to(path.resolve()) or any((path / name).exists() for name in SOMEBODYS)
        )
    except OSError:  # somebody else's, which may not be looked into
        return False


def _runs(root: Path, days: float) -> Iterator[Leftover | Kept]:
    for folder in sorted(root.glob(f"{MAKING}*")):
        if _idle_s(folder) >= DAY_S:
            yield _path(folder, "a clone that was never finished", DAY_S)
    for mark in sorted(root.glob(f"*/{MARK}")):
        folder = mark.parent.parent
        if folder.is_symlink() or not _free(folder):
            continue
        if is_kept(folder):
            if _idle_s(folder) >= days * DAY_S:
                yield _run(folder, "isolated run whose results are saved", days)
        elif has_result(folder):
            why = f"isolated run whose results are saved nowhere else: {how_to_finish(folder)}"
            yield Kept(str(folder), _size(folder), why)
        elif (idle := _idle_s(folder)) >= days * DAY_S:
            yield _run(folder, f"isolated run that ended {_days(idle)} ago without a model", days)


def _uploads(workspace: Path) -> Iterator[Leftover]:
    to = publish_to(workspace)
    if to is None:
        return
    place, store = read_url(to), Store()
    for upload in store.unfinished(place, DAY_S, lambda key: is_ours(place, key)):
        where = f"s3://{place.bucket}/{upload.key}"
        yield Leftover(
            where,
            upload.size,
            "an upload that nobody went on with for a day",
            lambda upload=upload: store.abort(place.bucket, upload),  # type: ignore[misc]
            lambda upload=upload: store.idle_s(place.bucket, upload) >= DAY_S,  # type: ignore[misc]
        )


def _parts(workspace: Path) -> Iterator[Leftover]:
    for part in parts_nobody_needs(workspace):
        if _idle_s(part.path) >= DAY_S:  # what is younger may belong to a registration that is at work
            yield Leftover(
                str(part.path),
                _size(part.path),
                "a file that registered versions shared; none needs it any more",
                lambda part=part: remove_part(workspace, part),  # type: ignore[misc]
                lambda part=part: _idle_s(part.path) >= DAY_S,  # type: ignore[misc]
            )


def _path(path: Path, why: str, idle_s: float) -> Leftover:
    return Leftover(str(path), _size(path), why, lambda: _delete(path), lambda: _idle_s(path) >= idle_s)


def _of_workspace(workspace: Path, path: Path, why: str, idle_s: float) -> Leftover:
    """Something that a run in the workspace may go on with."""

    def still() -> bool:
        return not is_at_work(workspace) and _idle_s(path) >= idle_s

    return Leftover(str(path), _size(path), why, lambda: _delete(path), still)


def _run(folder: Path, why: str, days: float) -> Leftover:
    def remove() -> None:
        with occupied(folder):
            _delete(folder)

    def still() -> bool:
        return _free(folder) and _idle_s(folder) >= days * DAY_S

    return Leftover(str(folder), _size(folder), why, remove, still)


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _free(workspace: Path) -> bool:
    """Whether no run works in an isolated workspace."""
    return not is_held(workspace / LOCK)


def _below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _everything(path: Path) -> Iterator[os.stat_result]:
    """The state of a file, or of a folder and all that is in it; links are not followed."""
    yield path.lstat()
    if path.is_dir() and not path.is_symlink():
        for folder, names, files in os.walk(path):
            for name in (*names, *files):
                try:
                    yield os.lstat(os.path.join(folder, name))
                except FileNotFoundError:
                    continue


def _size(path: Path) -> int:
    return sum(state.st_size for state in _everything(path))


def _idle_s(path: Path) -> float:
    """Seconds since anything in it changed; 0 where it is gone."""
    try:
        return time.time() - max(state.st_mtime for state in _everything(path))
    except FileNotFoundError:
        return 0.0


def _days(seconds: float) -> str:
    days = int(seconds // DAY_S)
    return "a day" if days == 1 else f"{days} days"
