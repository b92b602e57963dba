"""Which code ran: the git commit, and the patch that an unclean tree adds to it."""

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from pipeline.files import digest_value

CODE = ("*.py", "*.yaml", "*.toml", "*.dvc", "*.txt", "Makefile", ":!dvc.lock")
CHOICES = (":!params.yaml", ":!data.dvc")  # a run's own parameters and photos, which the record holds by themselves


def code_state(workspace: Path) -> dict[str, Any]:
    """Commit, and the patch of changed and new code files against it; all None outside a git repository.

    `clean`: nothing differs but parameters and photos.
    """
    commit = _git(workspace, "rev-parse", "--verify", "HEAD")
    if commit is None:
        return {"commit": None, "clean": None, "patch": None, "patch_sha256": None}
    patch, beyond = _patch(workspace), _patch(workspace, CHOICES)
    return {
        "commit": commit.strip(),
        "clean": None if patch is None or beyond is None else not beyond,
        "patch": patch or None,
        "patch_sha256": digest_value(patch) if patch else None,
    }


class CodeUnknown(Exception):
    """Code cannot be rebuilt; `certain` where the record and the repository contradict each other."""

    def __init__(self, message: str, certain: bool):
        super().__init__(message)
        self.certain = certain


def tree_at(workspace: Path, commit: str, patch: str | None, target: Path) -> None:
    """Write the files of `commit` with `patch` applied into the empty folder `target`.

    Raises:
        CodeUnknown: no repository here, no such commit in it, or a patch that does not fit it.
    """
    if _git(workspace, "rev-parse", "--git-dir") is None:
        raise CodeUnknown("there is no git repository here", certain=False)
    if _git(workspace, "cat-file", "-e", f"{commit}^{{commit}}") is None:
        shallow = (_git(workspace, "rev-parse", "--is-shallow-repository") or "").strip() == "true"
        hint = "; the clone is shallow, `git fetch --unshallow` brings the rest" if shallow else ""
        raise CodeUnknown(f"commit {commit} is not in this repository{hint}", certain=not shallow)
    with tempfile.TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        whole = f"{target.resolve()}{os.sep}"
        if _git(workspace, "read-tree", commit, **index) is None:
            raise CodeUnknown(f"commit {commit} is damaged in this repository", certain=True)
        if patch:
            file = Path(folder) / "patch"
            file.write_text(patch, encoding="utf-8", newline="")
            if _git(workspace, "apply", "--cached", "--whitespace=nowarn", str(file), **index) is None:
                raise CodeUnknown(f"the recorded patch does not fit commit {commit}", certain=True)
        if _git(workspace, "checkout-index", "--all", f"--prefix={whole}", **index) is None:
            raise CodeUnknown(f"commit {commit} is damaged in this repository", certain=True)


def _patch(workspace: Path, without: tuple[str, ...] = ()) -> str | None:
    """Compared through an index of its own, so that new files count and the user's index stays as it is."""
    with tempfile.TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        if _git(workspace, "read-tree", "HEAD", **index) is None:
            return None
        new = _git(workspace, "ls-files", "-z", "--others", "--exclude-standard", "--", *CODE, **index)
        if new is None or _git(workspace, "add", "--update", **index) is None:
            return None
        names = [name for name in new.split("\0") if name]
        if names and _git(workspace, "add", "--", *names, **index) is None:
            return None
        return _git(workspace, "diff", "--cached", "--no-ext-diff", "HEAD", "--", *CODE, *without, **index)


def _git(workspace: Path, *arguments: str, **environment: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=workspace,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None
