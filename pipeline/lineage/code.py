"""Which code ran: the git commit, and the patch that an unclean tree adds to it."""

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from pipeline.files import digest_value

CODE = ("*.py", "*.yaml", "*.toml", "*.dvc", "*.txt", "Makefile", ":!dvc.lock")


def code_state(workspace: Path) -> dict[str, Any]:
    """Commit, and the patch of changed and new code files against it; all None outside a git repository."""
    commit = _git(workspace, "rev-parse", "--verify", "HEAD")
    if commit is None:
        return {"commit": None, "clean": None, "patch": None, "patch_sha256": None}
    patch = _patch(workspace)
    return {
        "commit": commit.strip(),
        "clean": None if patch is None else not patch,
        "patch": patch or None,
        "patch_sha256": digest_value(patch) if patch else None,
    }


def _patch(workspace: Path) -> str | None:
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
        return _git(workspace, "diff", "--cached", "--no-ext-diff", "HEAD", "--", *CODE, **index)


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
