"""A training that is killed, at random or between any two writes, ends in the files of an unbroken one."""

import multiprocessing
import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from pipeline.files import digest_file
from pipeline.params import Preview
from pipeline.training import candidates, checkpoint, training_loop
from pipeline.training.training_loop import train
from tests.training.jobs import TOKEN, equal, make_job, weights

SETTINGS = {"steps": 60, "checkpoint_every": 4, "save_every": 15, "optimizer": "adamw-8bit", "schedule": "linear"}
METHODS = {
    "full": {"method": "dreambooth", "flip": True, "text_encoder": {"learn": True, "learning_rate": 1e-3}},
    "lora": {"method": "dreambooth-lora", "ema": 0.9, "token": {**TOKEN, "vectors": 2}},
}
SHORT = {"steps": 2, "checkpoint_every": 1, "save_every": 1, "log_every": 1, "optimizer": "adamw"}
STEP = ["row", "candidate", "preview", "checkpoint"]  # what one step of SHORT writes, in this order
WRITES = [*STEP, *STEP, "model"]


def run(base: Path, folder: Path, values: dict[str, Any], changes: dict[str, Any], began: Any) -> None:
    """One attempt, in a process of its own."""
    import torch

    torch.set_num_threads(1)
    began.set()
    train(make_job(base, folder, values)("run", **changes))


def run_short(base: Path, folder: Path, values: dict[str, Any], preview: Preview, kill_after: int) -> None:
    """One attempt of SHORT, killed after its write number `kill_after`; rows and previews go to files in `folder`."""
    import dataclasses

    import torch

    torch.set_num_threads(1)
    written: list[str] = []

    def wrote(what: str) -> None:
        written.append(what)
        with (folder / "written.txt").open("a") as file:
            file.write(f"{what}\n")
        if len(written) == kill_after:
            os.kill(os.getpid(), signal.SIGKILL)

    def then(function: Any, what: str) -> Any:
        def both(*arguments: Any) -> Any:
            made = function(*arguments)
            wrote(what)
            return made

        return both

    candidates.write_checkpoint = then(candidates.write_checkpoint, "candidate")
    checkpoint.write_checkpoint = then(checkpoint.write_checkpoint, "checkpoint")
    training_loop.export_model = then(training_loop.export_model, "model")
    job = dataclasses.replace(make_job(base, folder, values)("run", **SHORT), preview=preview)

    def log(row: dict[str, float]) -> None:
        (folder / f"row-{int(row['step'])}").touch()
        wrote("row")

    def show(step: int, picture: Any) -> None:
        picture.save(folder / f"preview-{step}.bmp")
        wrote("preview")

    train(job, log, show)


def digests(folder: Path) -> dict[str, str]:
    """Of every tensor file below a folder, those that a kill left behind among them."""
    return {str(path.relative_to(folder)): digest_file(path) for path in folder.rglob("*.safetensors")}


def server() -> Any:
    """Processes that have imported the heavy libraries already."""
    context = multiprocessing.get_context("forkserver")
    heavy = ["tests.training.jobs", "pipeline.training.training_loop", "diffusers", "bitsandbytes"]
    context.set_forkserver_preload(heavy)
    return context


@pytest.fixture(scope="module")
def shorts(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`shorts(values, kill_after)`: the folder of a run of SHORT that was killed there and, if need be, run again."""
    context = server()
    draw = {"steps": 1, "guidance": 2.0, "scheduler": "ddim", "batch": 1, "precision": "fp32"}
    preview = Preview.model_validate({"every": 1, "prompts": ["a photo of mysks plush toy"], "seed": 1, "draw": draw})

    def make(values: dict[str, Any], kill_after: int) -> Path:
        folder = tmp_path_factory.mktemp(f"kill-{kill_after}-")
        for attempt in (kill_after, 0):
            process = context.Process(target=run_short, args=(tiny_base, folder, values, preview, attempt))
            process.start()
            process.join(120)
            if process.exitcode == 0:
                break
            assert process.exitcode == -signal.SIGKILL
        assert process.exitcode == 0
        return folder

    return make


def results(folder: Path) -> dict[str, str]:
    """Every file that a run leaves for somebody: rows, previews, candidates and the model."""
    kept = [folder / "run" / "model", folder / "run" / "checkpoints" / "candidates"]
    found = {str(path.relative_to(folder)): digest_file(path) for path in folder.glob("*-*") if path.is_file()}
    return found | {f"{path.name}/{name}": value for path in kept for name, value in digests(path).items()}


@pytest.fixture(scope="module")
def unbroken(shorts: Any) -> dict[str, Any]:
    return {}


@pytest.mark.slow
@pytest.mark.parametrize("kill_after", range(1, len(WRITES) + 1))
def test_killed_between_any_two_writes_it_leaves_what_an_unbroken_run_leaves(
    shorts: Any, unbroken: dict[str, Any], values: dict[str, Any], kill_after: int
) -> None:
    if not unbroken:
        folder = shorts(values["train"], 0)
        assert (folder / "written.txt").read_text().split() == WRITES
        unbroken.update(results(folder))
        assert sum(name.startswith("candidates/") for name in unbroken) >= 2
        assert {"row-1", "row-2", "preview-1.bmp", "preview-2.bmp"} <= unbroken.keys()
    assert results(shorts(values["train"], kill_after)) == unbroken


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.timeout(600)
def test_killed_at_random_it_ends_in_the_very_weights(tiny_base, tmp_path, values, method: str) -> None:
    changes = {**SETTINGS, **METHODS[method]}
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole = make_job(tiny_base, tmp_path / "whole", values["train"])("run", **changes)
    killed = make_job(tiny_base, tmp_path / "killed", values["train"])("run", **changes)
    train(whole)

    context = server()
    chance = random.Random(os.environ.get("KILL_SEED", "1"))
    kills, reached = 0, set()
    left = killed.candidates / ".step-00000015.left"  # a kill may come while a candidate is written
    left.mkdir(parents=True)
    (left / "unet.safetensors").write_bytes(b"half")
    for _ in range(60):
        began = context.Event()
        arguments = (tiny_base, tmp_path / "killed", values["train"], changes, began)
        process = context.Process(target=run, args=arguments)
        process.start()
        assert began.wait(120)
        process.join(chance.uniform(0.2, 1.0) if kills < 12 else None)
        if process.exitcode is None:
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            kills += 1
        reached |= {path.name for path in killed.checkpoints.glob("step-*")}
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
    assert process.exitcode == 0
    assert kills >= 3
    assert len(reached) >= 2, "it was always killed before the first checkpoint: nothing was tried"
    assert equal(weights(whole), weights(killed))
    assert digests(whole.candidates) == digests(killed.candidates)
