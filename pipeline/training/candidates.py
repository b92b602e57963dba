"""Candidates: what was learned up to a step, kept so that the best step can be chosen afterwards."""

from dataclasses import replace
from pathlib import Path

from pipeline.base.components import load_parts
from pipeline.errors import UserError
from pipeline.files import write_json
from pipeline.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from pipeline.training.export import export_model
from pipeline.training.job import Job
from pipeline.training.state import State
from pipeline.training.trainable import choose_learned

INDEX = "candidates.json"


class CandidateError(UserError):
    """A candidate is damaged or missing."""


def save_candidate(job: Job, step: int, state: State) -> None:
    """Every `save_every` steps, write `candidates/step-<n>`: the learned weights, averaged where the run averages.

    Raises:
        CheckpointError: the disk has no room for it.
    """
    if job.params.save_every and step % job.params.save_every == 0:
        write_checkpoint(job.candidates / f"step-{step:08d}", Checkpoint(step, state.candidate(), {}))


def write_index(folder: Path) -> None:
    """Name the candidates in `folder/candidates.json`, of which there may be none."""
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted(path.name for path in folder.glob("step-*"))
    write_json(folder / INDEX, {"candidates": [{"step": int(name[5:]), "folder": name} for name in names]})


def export_candidate(job: Job, candidate: Path, model: Path) -> None:
    """Write the pipeline folder `model` of a candidate that a run of this very job saved.

    Raises:
        CandidateError: the candidate is missing or damaged.
    """
    found = read_checkpoint(candidate)
    if found is None:
        raise CandidateError(f"candidate {candidate} is missing or damaged; train again, or choose another")
    parts = load_parts(job.base, job.variant)
    learned = choose_learned(parts, job.token, job.params)
    for name, module in learned.modules.items():
        module.load_state_dict(found.tensors[name], strict=False)
    export_model(replace(job, model=model), parts, learned)
