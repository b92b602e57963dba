"""Stage `train`: DreamBooth fine-tuning on the prepared photos, recorded live in MLflow."""

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.base.resolve import ResolvedBase, resolve_base
from pipeline.errors import UserError
from pipeline.files import digest_file, digest_value, read_json, write_json, write_table
from pipeline.layout import (
    CANDIDATES,
    DATA,
    JOURNAL,
    MANIFEST,
    PREPARED,
    PREVIEWS,
    PRIOR,
    PRIOR_INDEX,
    RUN,
    STATE,
    STEPS,
    TRAINED_MODEL,
    TRAINING,
)
from pipeline.params import Params, dump_params
from pipeline.photos.manifest import Photo, read_manifest
from pipeline.stages import main
from pipeline.training.malloc import use_fast_malloc

if TYPE_CHECKING:
    from PIL.Image import Image

TRAINER = Path(__file__).resolve().parent.parent / "training"


class TrainInputsError(UserError):
    """What the stages before left does not fit together."""


def run(workspace: Path, params: Params) -> None:
    """Write `artifacts/trained/`: the model with its record, the run's id, the curve and the totals.

    Resumable checkpoints lie under `.dreamtrace/`, named by a digest of everything that goes in; they are removed
    once the model is written.

    Raises:
        TrainInputsError: the class images were drawn by another base.
        UserError: whatever the trainer or the tracking store refuses.
    """
    photos = read_manifest(workspace / MANIFEST)
    prior = read_json(workspace / PRIOR_INDEX)
    base = resolve_base(params.base)
    if prior["base"]["digest"] != base.digest:
        raise TrainInputsError(
            f"the class images in {PRIOR} were drawn by another base ({prior['base']['digest'][:12]}) than the one "
            f"that is to be trained ({base.digest[:12]}); draw them again with `dvc repro -f -s prior`"
        )
    inputs = inputs_digest(params, photos, prior, base)
    checkpoints = workspace / STATE / "checkpoints" / inputs

    from pipeline.lineage.code import code_state, describe_code
    from pipeline.lineage.digests import dvc_folder_md5
    from pipeline.lineage.record import write_lineage
    from pipeline.registry.live_run import open_run
    from pipeline.training.candidates import write_index
    from pipeline.training.checkpoint import remove_all
    from pipeline.training.journal import Journal
    from pipeline.training.training_loop import train

    job = _job(workspace, params, photos, prior, base, checkpoints)
    if int(os.environ.get("RANK", "0")):  # another process writes
        train(job)
        return
    code = code_state(workspace)  # the code that runs now, whatever is edited while it does
    for line in describe_code(code):
        print(line)
    started = checkpoints / "run.json"
    run_id = read_json(started)["run_id"] if started.is_file() else None
    md5 = dvc_folder_md5(workspace / DATA) if (workspace / DATA).is_dir() else None
    live = open_run(workspace, params, run_id, md5, f"{params.subject.name}-{inputs[:8]}")
    write_json(started, {"run_id": live.run_id})
    journal = Journal(workspace / JOURNAL, {"run_id": live.run_id, "inputs": inputs})

    def log(row: dict[str, float]) -> None:
        journal.write(row)
        live.log(row)

    def show(step: int, picture: "Image") -> None:
        path = workspace / PREVIEWS / f"{inputs[:8]}-{step:08d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
        live.show(picture, step)

    try:
        totals = train(job, log, show)
    except BaseException as error:
        live.finish("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    live.finish("FINISHED")

    facts = totals.as_json()
    run_facts: dict[str, Any] = {"run_id": live.run_id, "inputs": inputs}
    record = {**run_facts, "steps": totals.steps, "seed": params.train.seed, "device": totals.device}
    write_lineage(workspace, workspace / TRAINED_MODEL, params, photos, base, prior, record, code)
    write_json(workspace / RUN, run_facts)
    write_table(workspace / STEPS, totals.rows)
    write_json(workspace / TRAINING, facts)
    write_index(job.candidates)
    shutil.rmtree(workspace / CANDIDATES, ignore_errors=True)
    shutil.move(job.candidates, workspace / CANDIDATES)
    remove_all(checkpoints)
    print(f"{totals.steps} steps, {totals.images_per_second:.1f} photos a second; the model is in {TRAINED_MODEL}")


def inputs_digest(params: Params, photos: list[Photo], prior: dict[str, Any], base: ResolvedBase) -> str:
    """sha256 over all that decides the result: photos as prepared, class images, base, parameters, trainer's code."""
    values = dump_params(params)
    return digest_value(
        {
            "params": {section: values[section] for section in ("subject", "base", "train")},
            "photos": [
                [photo.sha256, photo.caption, photo.split, photo.crop, photo.size, photo.mask_sha256]
                for photo in photos
            ],
            "prior": [[image["sha256"], image["prompt"]] for image in prior["images"]],
            "base": base.digest,
            "code": {path.name: digest_file(path) for path in sorted([*TRAINER.glob("*.py"), *TRAINER.glob("*.c")])},
        }
    )


def _job(
    workspace: Path, params: Params, photos: list[Photo], prior: dict[str, Any], base: ResolvedBase, checkpoints: Path
) -> Any:
    from pipeline.training.data import Sample
    from pipeline.training.job import Job

    prepared = workspace / PREPARED
    samples = {
        split: [
            Sample(prepared / photo.file, photo.caption, prepared / photo.mask if photo.mask else None)
            for photo in photos
            if photo.split == split
        ]
        for split in ("train", "heldout")
    }
    return Job(
        base=base.folder,
        variant=base.variant,
        photos=samples["train"],
        heldout=samples["heldout"],
        class_images=[Sample(workspace / PRIOR / image["file"], image["prompt"]) for image in prior["images"]],
        token=params.subject.token,
        class_noun=params.subject.class_noun,
        params=params.train,
        checkpoints=checkpoints,
        model=workspace / TRAINED_MODEL,
        preview=params.preview,
    )


def launch(workspace: Path, params: Params) -> None:
    """Run the stage in this process, or in as many as `train.processes` says (on a CPU too, whatever the launcher's
    option is called).
    """
    count = params.train.processes
    if count == 1 or "RANK" in os.environ:
        use_fast_malloc()
        return run(workspace, params)
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(count)]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    os.execv(sys.executable, [*command, "-m", "pipeline.stages.train"])


if __name__ == "__main__":
    main(launch)
