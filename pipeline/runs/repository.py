"""Which repository a job belongs to: the commit that it was deployed from is in it."""

import re
import subprocess
from pathlib import Path

from pipeline.errors import UserError
from pipeline.lineage.git import without_repository
from pipeline.runs.workspaces import WorkspaceError, commit_of

CHANGED = "-changed"  # ends the version of a repository whose files differ from its commit
COMMIT = re.compile(r"[0-9a-f]{7,40}")


class OtherRepository(UserError):
    """A job, or a deployment, is of another repository."""


def version_of(workspace: Path) -> str:
    """The commit of a repository, marked where its files differ from it."""
    command = ["git", "describe", "--always", "--abbrev=12", f"--dirty={CHANGED}", "--exclude=*"]
    done = subprocess.run(command, cwd=workspace, env=without_repository(), capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def check_repository(repository: Path, version: str | None) -> None:
    """Refuse a job of another repository that is deployed on the same Prefect server.

    Args:
        version: what `version_of` gave where the job was deployed; None, or no commit: nothing is known.

    Raises:
        OtherRepository: the repository does not have the commit.
    """
    commit = (version or "").removesuffix(CHANGED)
    if not COMMIT.fullmatch(commit):
        return
    try:
        commit_of(repository, commit)
    except WorkspaceError as error:
        raise OtherRepository(
            f"this job was deployed from commit {commit}, which this worker's repository does not have ({error}): it "
            "belongs to another repository, which needs a Prefect server of its own; if it is the same one, run "
            "`git fetch` on this host, or deploy again"
        ) from None
