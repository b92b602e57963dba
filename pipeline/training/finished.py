"""What a finished training leaves until DVC has taken its results in, so that nothing is trained twice.

DVC removes the results of a stage before it runs again. Where it failed or was killed after the training had ended
(while it copied the model into its cache, on a full disk), dvc.lock does not name them, and the training would begin at
step 0. So its last checkpoint and its candidates stay until dvc.lock names what came of them.
"""

from pathlib import Path

import yaml

from pipeline.files import digest_file, read_json, remove_folder, write_json
from pipeline.layout import DVC_LOCK, RUN, STATE

CHECKPOINTS = STATE / "checkpoints"
FINISHED = "finished.json"  # in the folder of a training's checkpoints: it has ended, and this is its run.json's md5


def mark_finished(workspace: Path, folder: Path) -> None:
    """Record that the training whose checkpoints are in `folder` has written its results.

    Other trainings of the workspace that ended are forgotten: somebody went on to this one.
    """
    write_json(folder / FINISHED, {"run_md5": digest_file(workspace / RUN, "md5")})
    for other in trainings(workspace):
        if other.name != folder.name and finished_run(other) is not None:
            remove_folder(other)


def finished_run(folder: Path) -> str | None:
    """The md5 of the `run.json` that the training of these checkpoints ended with; None where it did not end."""
    try:
        return str(read_json(folder / FINISHED)["run_md5"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def run_taken_in(workspace: Path) -> str | None:
    """The md5 of the training's `run.json` in dvc.lock; None where DVC has taken in no training."""
    try:
        lock = yaml.safe_load((workspace / DVC_LOCK).read_text(encoding="utf-8"))
        (md5,) = [out["md5"] for out in lock["stages"]["train"]["outs"] if out["path"] == RUN.as_posix()]
        return str(md5)
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return None


def remove_taken_in(workspace: Path) -> None:
    """Remove the checkpoints of the training whose results DVC has taken in."""
    taken_in = run_taken_in(workspace)
    for folder in trainings(workspace):
        if taken_in is not None and finished_run(folder) == taken_in:
            remove_folder(folder)


def trainings(workspace: Path) -> list[Path]:
    """The folders with the checkpoints of trainings, finished ones among them."""
    return [path for path in sorted((workspace / CHECKPOINTS).glob("[!.]*")) if path.is_dir()]
