"""A training that is killed again and again, at moments that nobody chose, ends in the weights of an unbroken one."""

import multiprocessing
import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from pipeline.files import digest_file
from pipeline.training.training_loop import train
from tests.training.jobs import TOKEN, equal, make_job, weights

SETTINGS = {"steps": 60, "checkpoint_every": 4, "save_every": 15, "optimizer": "adamw-8bit", "schedule": "linear"}
METHODS = {
    "full": {"method": "dreambooth", "flip": True, "text_encoder": {"learn": True, "learning_rate": 1e-3}},
    "lora": {"method": "dreambooth-lora", "ema": 0.9, "token": {**TOKEN, "vectors": 2}},
}


def work(base: Path, folder: Path, values: dict[str, Any], changes: dict[str, Any], began: Any) -> None:
    """One try, in a process of its own."""
    import torch

    torch.set_num_threads(1)
    began.set()
    train(make_job(base, folder, values)("run", **changes))


def digests(folder: Path) -> dict[str, str]:
    """Of every tensor file below a folder, those that a kill left behind among them."""
    return {str(path.relative_to(folder)): digest_file(path) for path in folder.rglob("*.safetensors")}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.timeout(600)
def test_killed_at_random_it_ends_in_the_very_weights(tiny_base, tmp_path, values, method: str) -> None:
    changes = {**SETTINGS, **METHODS[method]}
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole = make_job(tiny_base, tmp_path / "whole", values["train"])("run", **changes)
    killed = make_job(tiny_base, tmp_path / "killed", values["train"])("run", **changes)
    train(whole)

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["tests.training.jobs", "pipeline.training.training_loop", "diffusers", "bitsandbytes"]
    )
    chance = random.Random(os.environ.get("KILL_SEED", "1"))
    kills, reached = 0, set()
    left = killed.candidates / ".step-00000015.left"  # a kill may come while a candidate is written
    left.mkdir(parents=True)
    (left / "unet.safetensors").write_bytes(b"half")
    for _ in range(60):
        began = context.Event()
        arguments = (tiny_base, tmp_path / "killed", values["train"], changes, began)
        process = context.Process(target=work, args=arguments)
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
