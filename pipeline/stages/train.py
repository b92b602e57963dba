"""Stage `train`: DreamBooth fine-tuning on the prepared photos, recorded live in MLflow."""

import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.base.digest import settings_digest
from pipeline.base.resolve import ResolvedBase, resolve_base
from pipeline.errors import UserError, counted
from pipeline.files import (
    REMOVED,
    digest_file,
    digest_value,
    read_json,
    scratch_folder,
    write_bytes,
    write_json,
    write_table,
)
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
    STEPS,
    TRAINED_MODEL,
    TRAINING,
)
from pipeline.params import Params, Preview, dump_params
from pipeline.photos.manifest import Photo, read_manifest
from pipeline.stages import main
from pipeline.training.finished import CHECKPOINTS, mark_finished, remove_taken_in
from pipeline.training.malloc import use_fast_malloc
from pipeline.training.signals import SAVE_S, end_with_parent

if TYPE_CHECKING:
    from PIL.Image import Image

    from pipeline.registry.live_run import LiveRun
    from pipeline.training.augmentation import Box
    from pipeline.training.data import Sample
    from pipeline.training.job import Job
    from pipeline.training.journal import Journal

STATUS_FILE = "DREAMTRACE_STATUS_FILE"
SHUTDOWN_S = "TORCH_ELASTIC_SHUTDOWN_TIMEOUT"  # seconds that torch's launcher gives its processes after SIGTERM
PACKAGE = Path(__file__).resolve().parent.parent


class TrainInputsError(UserError):
    """The results of earlier stages do not fit together."""


def run(workspace: Path, params: Params) -> None:
    """Write `artifacts/trained/`: the model with its record, the run's id, the curve, the summary and the candidates.

    Resumable checkpoints are under `.dreamtrace/`, in a folder named by a digest of all inputs. The last one stays
    until dvc.lock names the results (see `finish`).

    Raises:
        TrainInputsError: the class images were drawn by another base.
        UserError: from the trainer or the tracking store (see `train`, `open_run`).
    """
    photos = read_manifest(workspace / MANIFEST)
    prior = read_json(workspace / PRIOR_INDEX)
    base = resolve_base(params.base)
    if prior["base"]["digest"] != base.digest:
        raise TrainInputsError(
            f"the class images in {PRIOR} were drawn by another base ({prior['base']['digest'][:12]}) than the one of "
            f"params.yaml ({base.digest[:12]}); draw them again with `dvc repro -f -s prior`"
        )
    inputs = inputs_digest(params, photos, prior, base, workspace / PREPARED)
    checkpoints = workspace / CHECKPOINTS / inputs

    from pipeline.lineage.code import code_state, describe_code
    from pipeline.lineage.digests import dvc_folder_md5
    from pipeline.lineage.record import environment, portable, write_lineage
    from pipeline.registry.live_run import open_run
    from pipeline.training.journal import Journal
    from pipeline.training.training_loop import train
    from pipeline.training.tries import tries_with

    job = _job(workspace, params, photos, prior, base, checkpoints)
    if int(os.environ.get("RANK", "0")):  # only the process of rank 0 writes
        train(job)
        return
    for gone in checkpoints.parent.glob(f".*{REMOVED}"):  # of a removal that was cut off
        shutil.rmtree(gone, ignore_errors=True)
    code = code_state(workspace)  # the code that runs now, whatever is edited while it does
    for line in describe_code(code):
        print(line)
    started = checkpoints / "run.json"
    before = read_json(started) if started.is_file() else {}
    tries: list[dict[str, Any]] = before.get("tries", [])
    now = {"code": portable(code, workspace), "environment": environment()}
    md5 = dvc_folder_md5(workspace / DATA) if (workspace / DATA).is_dir() else None
    live = open_run(workspace, params, before.get("run_id"), md5, f"{params.subject.name}-{inputs[:8]}")

    def note_try(step: int, device: str) -> None:
        tries[:] = tries_with(tries, step, {**now, "device": device})
        write_json(started, {"run_id": live.run_id, "tries": tries})

    try:
        write_json(started, {"run_id": live.run_id, "tries": tries})
        journal = Journal(workspace / JOURNAL, {"run_id": live.run_id, "inputs": inputs})
        summary = train(job, *watchers(workspace, journal, live, previews_name(inputs, params.preview)), note_try)
    except BaseException as error:
        live.finish("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    live.finish("FINISHED")

    run_facts: dict[str, Any] = {"run_id": live.run_id, "inputs": inputs}
    began = tries[0]
    record = {**run_facts, "steps": summary.steps, "seed": params.train.seed, "device": began["device"]}
    if len(tries) > 1:
        record["resumed_with"] = tries[1:]
    model = workspace / TRAINED_MODEL
    write_lineage(workspace, model, params, photos, base, prior, record, began["code"], began["environment"])
    write_table(workspace / STEPS, summary.rows)
    write_json(workspace / TRAINING, summary.as_json())
    finish(workspace, job, run_facts)
    print(
        f"{counted(summary.steps, 'step')}, {summary.images_per_second:.1f} photos per second; the model is in "
        f"{TRAINED_MODEL}"
    )


def watchers(
    workspace: Path, journal: "Journal", live: "LiveRun", name: str
) -> tuple[Callable[[dict[str, float]], None], Callable[[int, "Image"], None]]:
    """What takes rows and previews of a training: files here, and MLflow. A file that cannot be written is reported,
    and training goes on; `name` begins the names of the previews.
    """

    def log(row: dict[str, float]) -> None:
        live.log(row)
        with _passed_over(f"the row of step {row['step']:.0f}"):
            journal.write(row)

    def show(step: int, picture: "Image") -> None:
        live.show(picture, step)
        content = io.BytesIO()
        picture.save(content, "PNG")
        with _passed_over(f"the preview of step {step}"):
            write_bytes(workspace / PREVIEWS / f"{name}-{step:08d}.png", content.getvalue())

    return log, show


def previews_name(inputs: str, preview: Preview) -> str:
    """What the names of a training's previews begin with: 8 digits of its inputs, and 8 of what decides the pictures.

    A training that goes on may have other preview prompts, or another seed, than it had begun with: its sheets are then
    another row.
    """
    return f"{inputs[:8]}-{preview.pictures_digest}"


@contextmanager
def _passed_over(what: str) -> Iterator[None]:
    """Report what the disk refuses to take, instead of ending the training."""
    try:
        yield
    except OSError as error:
        print(f"{what} could not be written ({error}); training continues without it", flush=True)


def finish(workspace: Path, job: "Job", run_facts: dict[str, Any]) -> None:
    """Keep the candidates, say that the training is finished, and reduce its checkpoints to what exports it again.

    Cut off at any point, and after it, a run with the same inputs finds the last checkpoint and all candidates, and
    ends without another step. They stay until dvc.lock names the results: the stage `select` or the next training
    removes them then.
    """
    from pipeline.training.candidates import keep_candidates
    from pipeline.training.checkpoint import keep_weights

    keep_candidates(job, workspace / CANDIDATES)
    write_json(workspace / RUN, run_facts)
    keep_weights(job.checkpoints)
    mark_finished(workspace, job.checkpoints)


def inputs_digest(
    params: Params, photos: list[Photo], prior: dict[str, Any], base: ResolvedBase, prepared: Path
) -> str:
    """sha256 of all that determines the result: prepared photos, class images, the base with its configurations,
    parameters, the trainer's code.

    Args:
        prepared: the folder of the prepared pictures and masks, whose bytes count.
    """
    values = dump_params(params)
    files = [file for photo in photos for file in (photo.file, photo.mask) if file]
    return digest_value(
        {
            "params": {section: values[section] for section in ("subject", "base", "train")},
            "photos": [
                [photo.sha256, photo.caption, photo.split, photo.crop, photo.size, photo.mask_sha256]
                for photo in photos
            ],
            "pictures": [digest_file(prepared / file) for file in files],
            "prior": [[image["sha256"], image["prompt"]] for image in prior["images"]],
            "places": [[place["sha256"], place["words"]] for place in prior.get("places", [])],
            "base": [base.digest, settings_digest(base.folder)],
            "code": {path.relative_to(PACKAGE).as_posix(): digest_file(path) for path in trainer_files()},
        }
    )


def trainer_files() -> list[Path]:
    """The source files that decide what is trained on, how, and on which base."""
    rooms = [path for room in ("training", "base") for path in (PACKAGE / room).iterdir()]
    files = [path for path in rooms if path.suffix in (".py", ".c")]
    return sorted([*files, PACKAGE / "params.py", Path(__file__).resolve()])


def _job(
    workspace: Path, params: Params, photos: list[Photo], prior: dict[str, Any], base: ResolvedBase, checkpoints: Path
) -> "Job":
    from pipeline.training.data import Sample, as_often
    from pipeline.training.job import Job

    prepared = workspace / PREPARED
    samples = {
        split: [
            Sample(
                prepared / photo.file,
                photo.caption,
                prepared / photo.mask if photo.mask else None,
                frame=frame_of(photo),
            )
            for photo in photos
            if photo.split == split
        ]
        for split in ("train", "heldout")
    }
    elsewhere = put_in_places(workspace, params, samples["train"], prior)
    if params.train.augment.places:
        print(places_sentence(samples["train"], elsewhere, len(prior.get("places", []))))
    return Job(
        base=base.folder,
        variant=base.variant,
        photos=[*samples["train"], *elsewhere, *as_often(samples["train"], elsewhere)],
        heldout=samples["heldout"],
        class_images=[Sample(workspace / PRIOR / image["file"], image["prompt"]) for image in prior["images"]],
        token=params.subject.token,
        class_noun=params.subject.class_noun,
        params=params.train,
        checkpoints=checkpoints,
        model=workspace / TRAINED_MODEL,
        preview=params.preview,
    )


def frame_of(photo: Photo) -> "Box":
    """Where in a prepared picture its photo is, in shares of the sides: `prepare.crop: pad` sets it between bars."""
    (left, top, right, bottom), (width, height) = photo.crop, photo.source_size
    across, down = right - left, bottom - top
    ends = min(1.0, (width - left) / across), min(1.0, (height - top) / down)
    return (max(0.0, -left / across), max(0.0, -top / down), *ends)


def put_in_places(workspace: Path, params: Params, photos: "Sequence[Sample]", prior: dict[str, Any]) -> "list[Sample]":
    """Photos once more, with their subjects in places that the base drew, as many as `train.augment.places` asks for.

    Args:
        prior: the list in `artifacts/prior`; one of an older version names no places.
    """
    from pipeline.training.data import Place, placed

    places = [
        Place(workspace / PRIOR / place["file"], params.placed_caption(place["words"]))
        for place in prior.get("places", [])
    ]
    return placed(photos, places, params.train.augment, params.train.seed)


def places_sentence(photos: "Sequence[Sample]", elsewhere: "Sequence[Sample]", places: int) -> str:
    """How many pictures there are beside the photos, and how many masks give none.

    Args:
        places: that the stage `prior` drew.
    """
    if not places:
        return (
            f"{counted(len(photos), 'photo')}, and none of them in other places: artifacts/prior holds no places "
            "(`dvc repro -f prior` draws them)"
        )
    told = f"{counted(len(photos), 'photo')}, and {len(elsewhere)} more with their subjects in other places"
    if elsewhere and len({sample.file for sample in elsewhere}) < len(photos):
        told += "; photos that are in no place are repeated, so that all are seen as often"
    masked = {photo.file for photo in photos if photo.mask}
    full = len(masked - {sample.file for sample in elsewhere})
    if not full:
        return told
    return (
        f"{told}; {full} of {counted(len(masked), 'mask')} with no subject, one from edge to edge, one that "
        "fills most of the photo, or one that a bar cuts off: put in no place"
    )


def launch(workspace: Path, params: Params) -> None:
    """Run the stage in this process, or in `train.processes` processes (on a CPU too)."""
    count = params.train.processes
    if "RANK" in os.environ:
        end_with_parent()
    else:  # before any process looks for a checkpoint
        remove_taken_in(workspace)
    if count == 1:
        use_fast_malloc()
    if count == 1 or "RANK" in os.environ:
        with _status_file():
            return run(workspace, params)
    sys.exit(run_processes(count, [sys.executable, "-m", "torch.distributed.run"], ["-m", "pipeline.stages.train"]))


def run_processes(count: int, launcher: list[str], program: list[str]) -> int:
    """Run `program` in `count` processes by torch's launcher (`torchrun`) and return the exit status of the stage.

    The launcher itself exits with 1 whatever its processes exit with, so the process of rank 0 leaves its status in a
    file. SIGTERM and SIGINT are passed on, once; the processes then save a checkpoint, and the launcher gives them
    `SAVE_S` seconds for it.
    """
    with scratch_folder() as folder:
        file = Path(folder) / "status"
        command = [*launcher, "--standalone", "--nnodes", "1", "--nproc-per-node", str(count), *program]
        patience = {SHUTDOWN_S: str(int(SAVE_S)), **os.environ}
        process = subprocess.Popen(command, env={**patience, STATUS_FILE: str(file)})

        def pass_on(received: int, _: object) -> None:
            for number in (signal.SIGTERM, signal.SIGINT):  # one that is told again leaves its processes behind
                signal.signal(number, signal.SIG_IGN)
            process.send_signal(received)

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, pass_on)
        status = process.wait()
        return int(file.read_text()) if status and file.is_file() else max(status, 1) if status else 0


@contextmanager
def _status_file() -> Iterator[None]:
    """Leave the exit status of an error for the user where `run_processes` asks for it."""
    try:
        yield
    except UserError as error:
        if (file := os.environ.get(STATUS_FILE)) and os.environ.get("RANK") == "0":
            Path(file).write_text(str(error.status))
        raise


if __name__ == "__main__":
    main(launch)
