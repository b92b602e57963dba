"""Candidates: the weights of several steps, kept so that the best step can be chosen after training."""

from dataclasses import replace
from pathlib import Path

from pipeline.base.components import load_parts
from pipeline.errors import UserError
from pipeline.files import link_or_copy, whole_folder, write_json
from pipeline.training.captions import limit_tokenizer
from pipeline.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from pipeline.training.export import export_model
from pipeline.training.job import Job
from pipeline.training.state import State, load_weights
from pipeline.training.trainable import select_trainable

INDEX = "candidates.json"
TRAIN_AGAIN = "train again with `dvc repro -f -s train`"
RESTORE = "bring it back with `dvc checkout -f train`"


class CandidateError(UserError):
    """A candidate is damaged or missing."""


def save_candidate(job: Job, step: int, state: State) -> None:
    """Every `save_every` steps, write the trainable weights (their moving average if the run has one) to
    `candidates/step-<n>`.

    Raises:
        CheckpointError: the disk is full or refused the files.
    """
    if job.params.save_every and step % job.params.save_every == 0:
        write_checkpoint(candidate_folder(job, step), Checkpoint(step, state.exported_weights(), {}))


def restore_candidate(job: Job, step: int, state: State) -> None:
    """Write the candidate of the checkpoint's step again if its folder is missing."""
    if not candidate_folder(job, step).is_dir():
        save_candidate(job, step, state)


def candidate_folder(job: Job, step: int) -> Path:
    """Where the candidate of a step is kept."""
    return job.candidates / _name(step)


def _name(step: int) -> str:
    return f"step-{step:08d}"


def keep_candidates(job: Job, folder: Path) -> None:
    """Put the candidates of a finished run (possibly none) into `folder`, with their list in `candidates.json`.

    That of the last step, which is the trained model itself, is left out. `folder` changes as a whole, and the job's
    own candidates stay as they are: a run that is cut off and resumes finds all of them again.
    """
    with whole_folder(folder) as fresh:
        names = sorted(path.name for path in job.candidates.glob("step-*") if path.name != _name(job.params.steps))
        for name in names:
            (fresh / name).mkdir()
            for file in (job.candidates / name).iterdir():
                link_or_copy(file, fresh / name / file.name)
        write_json(fresh / INDEX, {"candidates": [{"step": int(name[5:]), "folder": name} for name in names]})


def export_candidate(job: Job, candidate: Path, model: Path) -> None:
    """Write a candidate of this job as the pipeline folder `model`.

    Raises:
        CandidateError: the candidate is missing or damaged.
        CheckpointError: the system refuses to read it.
        StateError: its weights are not those of this base.
        TokenError: the base or the token of the job is not the one that the candidate was trained with.
    """
    checkpoint = read_checkpoint(candidate, RESTORE)
    if checkpoint is None:
        raise CandidateError(
            f"candidate {candidate} is missing or damaged: {RESTORE}; where DVC's cache is damaged too, {TRAIN_AGAIN}"
        )
    parts = load_parts(job.base, job.variant)
    limit_tokenizer(parts)
    trainable = select_trainable(parts, job.token, job.params)
    for name, module in trainable.modules.items():
        load_weights(module, checkpoint.tensors.get(name, {}), f"candidate {candidate}, {name}", TRAIN_AGAIN)
    export_model(replace(job, model=model), parts, trainable)
