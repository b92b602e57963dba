"""Git for programs: the same answers whatever the user's settings, environment and folder."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.files import scratch_folder

# Settings that change what git prints, or that run programs of the user's choice.
SETTINGS = (
    "core.quotePath=true", "core.fsmonitor=false", "core.hooksPath=/dev/null", "core.safecrlf=false",
    "core.untrackedCache=false", "color.ui=false", "advice.graftFileDeprecated=false",
)  # fmt: skip
KEPT = ("GIT_CONFIG_", "GIT_SSH", "GIT_EXEC_PATH", "GIT_TEMPLATE_DIR")  # where the settings and the programs are


class GitSilent(Exception):
    """Git cannot answer; the message says why and what to do."""


class GitRefused(Exception):
    """A git command failed; the message is the last line of its error output."""


@dataclass(frozen=True)
class Git:
    """A repository as seen from one of its folders: paths in every answer are relative to `folder`.

    `prefix` is the folder's path inside the repository ("" at its top, otherwise ending in a slash).
    """

    folder: Path
    prefix: str
    git_dir: Path
    objects: Path
    shallow: bool
    environment: dict[str, str] = field(default_factory=dict)

    def tree(self, commit: str) -> str:
        """The name of the tree that `commit` has in this folder."""
        return f"{commit}:{self.prefix.rstrip('/')}" if self.prefix else commit

    def run(self, *arguments: str, given: bytes = b"") -> bytes:
        """What a git command prints.

        Raises:
            GitRefused: it failed.
        """
        where = {"GIT_DIR": str(self.git_dir), "GIT_WORK_TREE": str(self.folder)}
        return _call(self.folder, arguments, given, {**where, **self.environment})

    def lines(self, *arguments: str) -> list[str]:
        """The answer of a command that ends each item with a zero byte."""
        return [os.fsdecode(item) for item in self.run(*arguments).split(b"\0") if item]


def open_git(folder: Path) -> Git:
    """The repository around `folder`.

    Raises:
        GitSilent: git is not installed, there is no repository, or git does not trust its owner.
    """
    names = ("--show-prefix", "--absolute-git-dir", "--git-path", "objects", "--is-shallow-repository")
    try:
        answer = _call(folder, ("rev-parse", *names), b"", {})
    except GitRefused as error:
        raise GitSilent(_reason(folder, str(error))) from None
    except OSError as error:
        raise GitSilent(f"git cannot be started ({error.strerror}): install git") from None
    prefix, git_dir, objects, shallow = os.fsdecode(answer).split("\n")[:4]
    top = folder.resolve()
    return Git(top, prefix, Path(git_dir), (top / objects).resolve(), shallow == "true")


@contextmanager
def with_own_index(git: Git, tree: str) -> Iterator[Git]:
    """The same repository with an index that holds `tree`, and a place of its own for new objects.

    Nothing is written into the repository, so that it may be read-only and the user's index stays as it is.
    """
    with scratch_folder() as scratch:
        environment = {
            "GIT_INDEX_FILE": str(Path(scratch) / "index"),
            "GIT_OBJECT_DIRECTORY": str(Path(scratch) / "objects"),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": _quoted(git.objects),
        }
        (Path(scratch) / "objects").mkdir()
        own = Git(git.folder, git.prefix, git.git_dir, git.objects, git.shallow, environment)
        own.run("read-tree", tree)
        yield own


def without_repository() -> dict[str, str]:
    """This process's environment without the repository that variables name: git's hooks set GIT_DIR and others, and a
    command in another folder would work on that repository.
    """
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name.startswith(KEPT)}


def _quoted(path: Path) -> str:
    """A path in a list that colons separate."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _call(folder: Path, arguments: tuple[str, ...], given: bytes, environment: dict[str, str]) -> bytes:
    settings = [word for setting in SETTINGS for word in ("-c", setting)]
    done = subprocess.run(
        ["git", "--no-pager", *settings, *arguments],
        cwd=folder,
        env={
            **without_repository(),
            "LC_ALL": "C",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_OPTIONAL_LOCKS": "0",
            **environment,
        },
        input=given,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise GitRefused("\n".join(said) or f"git {arguments[0]} ended with status {done.returncode}")
    return done.stdout


def _reason(folder: Path, complaint: str) -> str:
    where = folder.resolve()
    if "dubious ownership" in complaint:
        return (
            f"the repository at {where} belongs to another user, so git does not read it; if you trust it: "
            f"git config --global --add safe.directory {where}"
        )
    if "not a git repository" in complaint:
        return f"{where} is in no git repository: `git init` and a commit make one"
    return f"git cannot read the repository at {where}: {complaint.splitlines()[0]}"
