"""The results of a run in a clone, kept in the repository that it was cloned from."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.files import read_json, write_json
from pipeline.layout import DATA_DVC
from pipeline.runs.dvc import DvcError, dvc_settings, run_dvc
from pipeline.runs.workspaces import MARK


@dataclass(frozen=True)
class Kept:
    """What became of a run's results: one sentence for each step that failed, none where all are safe.

    `pushed` is False where the default DVC remote is a folder of the repository.
    """

    problems: list[str]
    pushed: bool


def keep_results(workspace: Path) -> Kept:
    """Push to the DVC remote, and save the state as an experiment that `dvc exp show` lists in the source repository.

    The run must have finished: DVC saves no experiment that lacks an output. Every step is tried, even after another
    failed; a workspace whose results are safe is marked so. Nothing is pushed to a remote that is a folder of the
    repository: what is committed with it is all it holds, and the results are in the repository's own cache.
    """
    mark, problems = read_json(workspace / MARK), []
    # Without targets, DVC would expect the outputs of pipelines in sub-folders, too.
    targets = ["dvc.yaml", *([str(DATA_DVC)] if (workspace / DATA_DVC).is_file() else [])]
    push = not _remote_inside(workspace, Path(mark["source"]))
    steps = [
        *([("push",)] if push else []),
        ("exp", "save", "--force", "--name", workspace.name, *targets),
        ("exp", "push", "--force", "--no-cache", "origin", workspace.name),
    ]
    for step in steps:
        try:
            run_dvc(workspace, *step)
        except DvcError as error:
            problems.append(str(error))
    write_json(workspace / MARK, {**mark, "kept": not problems})
    return Kept(problems, push)


def _remote_inside(workspace: Path, source: Path) -> bool:
    settings = dvc_settings(workspace)
    url = settings.get(f"remote.{settings.get('core.remote')}.url")
    if url is None:
        return False  # no default remote: the push itself says so
    return "://" not in url and any(Path(url).is_relative_to(folder.resolve()) for folder in (workspace, source))
