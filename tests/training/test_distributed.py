"""Two processes, started by accelerate's launcher, train as one."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from pipeline.errors import NotNow
from pipeline.params import Train
from pipeline.training.distributed import DeviceError, check_device, make_accelerator
from pipeline.training.training_loop import train
from tests.training.jobs import weights

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import json, os, sys
from contextlib import suppress
from pathlib import Path
from pipeline.environment import prepare_environment
prepare_environment()
import torch
torch.set_num_threads(1)
from pipeline.training.training_loop import train
from pipeline.training.steps import Stepper
from tests.training.jobs import make_job

asked = json.loads(sys.argv[1])
folder, rank = Path(asked["folder"]), os.environ["RANK"]
(folder / rank).mkdir(exist_ok=True)
seen, losses = [], Stepper._losses

def looking(self, batch):
    seen.extend([noise.sum().item(), classes.item()] for noise, classes in zip(batch.noises, batch.classes))
    return losses(self, batch)

Stepper._losses = looking
job = make_job(Path(asked["base"]), folder / rank, asked["values"])(**asked["changes"])
job = type(job)(**{**job.__dict__, "checkpoints": folder / "checkpoints", "model": folder / "run" / "model"})
totals = train(job)
(folder / f"{rank}.json").write_text(json.dumps({"seen": seen, "rows": totals.rows}))
"""
SAME = {"steps": 3, "optimizer": "adamw", "learning_rate": 1e-5}


@pytest.mark.slow
def test_two_processes_end_where_one_does(job, tiny_base: Path, tmp_path: Path, values: dict[str, Any]) -> None:
    one = job("one", batch=4, **SAME)
    alone = train(one)
    folder = tmp_path / "two"
    folder.mkdir()
    (tmp_path / "worker.py").write_text(SCRIPT)
    changes = {**SAME, "batch": 2, "processes": 2}
    asked = {"folder": str(folder), "base": str(tiny_base), "values": values["train"], "changes": changes}
    command = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--multi_gpu",
        "--num_processes",
        "2",
        "--num_machines",
    ]
    command += ["1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    done = subprocess.run(
        [*command, str(tmp_path / "worker.py"), json.dumps(asked)],
        capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found, expected = weights_of(folder), weights(one)
    for name, tensor in expected.items():
        assert torch.allclose(found[name], tensor, atol=2e-6), name
    ranks = [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]
    noises = [{value for value, _ in rank["seen"]} for rank in ranks]
    assert len(noises[0]) == len(noises[1]) == 2 * 2 * 3  # instance and class samples of three steps
    assert not noises[0] & noises[1]
    for rank in ranks:
        for row, other in zip(rank["rows"], alone.rows, strict=True):
            for name in ("loss", "instance_loss", "prior_loss", "gradient_norm"):
                assert row[name] == pytest.approx(other[name], rel=1e-4), name


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    class Done:
        model = folder / "run" / "model"

    return weights(Done())  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_stage_starts_its_processes_itself_whatever_accelerate_was_configured_to(project, tmp_path: Path) -> None:
    from importlib import import_module

    from pipeline import layout
    from pipeline.files import read_json
    from pipeline.params import load_params

    workspace = project(train={"processes": 2, "batch": 1, "steps": 2})
    for stage in ("prepare", "prior"):
        import_module(f"pipeline.stages.{stage}").run(workspace, load_params(workspace / layout.PARAMS))
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.stages.train"], cwd=workspace,
        capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1",
             "HF_HOME": str(other_projects(tmp_path))},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.count("the model is in") == 1
    assert read_json(workspace / layout.TRAINING)["steps"] == 2
    assert (workspace / layout.TRAINED_MODEL / "lineage.json").is_file()


@pytest.mark.slow
def test_several_processes_that_are_told_to_stop_save_the_step_that_they_are_in(project, tmp_path: Path) -> None:
    from importlib import import_module

    from pipeline import layout
    from pipeline.params import load_params
    from pipeline.training.checkpoint import load_newest

    far = 100_000  # neither a row nor a checkpoint comes by itself
    train = {"processes": 2, "batch": 1, "steps": far, "log_every": far, "checkpoint_every": far, "save_every": 3}
    workspace = project(train=train)
    for stage in ("prepare", "prior"):
        import_module(f"pipeline.stages.{stage}").run(workspace, load_params(workspace / layout.PARAMS))
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.stages.train"], cwd=workspace, stdout=log, stderr=log,
            start_new_session=True, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    checkpoints, end = workspace / layout.STATE / "checkpoints", time.monotonic() + 240
    while not list(checkpoints.glob("*/candidates/step-*")) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGTERM)  # as `Command` does: the stage and torch's launcher hear it, not the workers
    status = process.wait(timeout=60)
    said = (tmp_path / "log").read_text()
    assert status == NotNow.status, said[-3000:]
    [folder] = checkpoints.iterdir()
    checkpoint = load_newest(folder)
    assert checkpoint is not None and 3 <= checkpoint.step < far, said[-3000:]
    assert f"stopped after step {checkpoint.step} of" in said


def other_projects(folder: Path) -> Path:
    """A home of Hugging Face's libraries in which accelerate was configured for another project."""
    (folder / "hub" / "accelerate").mkdir(parents=True)
    (folder / "hub" / "accelerate" / "default_config.yaml").write_text(
        "compute_environment: LOCAL_MACHINE\ndistributed_type: MULTI_GPU\nnum_processes: 4\ngpu_ids: '0'\n"
        "mixed_precision: fp16\nnum_machines: 1\nmachine_rank: 0\nuse_cpu: false\n"
    )
    return folder / "hub"


# Torch's launcher begins each of its processes in a session of its own; this one begins one and waits.
LAUNCHER = """
import subprocess, sys
subprocess.run([sys.executable, "-c", sys.argv[1], sys.argv[2]], start_new_session=True)
"""
OF_TWO = """
import os, sys, time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from pipeline.stages import train
def run(*_):
    Path(sys.argv[1]).write_text(str(os.getpid()))
    time.sleep(600)
train.run = run
train.launch(Path(), SimpleNamespace(train=SimpleNamespace(processes=2)))
"""


def test_the_processes_of_a_training_end_with_a_launcher_that_is_killed(tmp_path: Path) -> None:
    told, environment = tmp_path / "pid", {**os.environ, "RANK": "0"}
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCHER, OF_TWO, str(told)], cwd=ROOT, env=environment)
    until = time.monotonic() + 120
    while not (told.is_file() and told.read_text()) and time.monotonic() < until:
        time.sleep(0.1)
    worker = psutil.Process(int(told.read_text()))
    launcher.kill()
    launcher.wait()
    try:
        worker.wait(10)
    finally:
        with suppress(psutil.NoSuchProcess):
            worker.kill()


def test_another_number_of_processes_is_refused(job) -> None:
    with pytest.raises(DeviceError, match="started in 1"):
        train(job(processes=2))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_more_processes_than_gpus_are_refused(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("DREAMTRACE_DEVICE", raising=False)
    check_device(Train.model_construct(precision=precision, processes=2))
    with pytest.raises(DeviceError, match=r"train\.processes is 4, and torch sees 2 GPUs"):
        check_device(Train.model_construct(precision=precision, processes=4))


@pytest.mark.parametrize(
    ("precision", "environment", "refused"),
    [
        ("bf16", {}, True),
        ("fp32", {}, False),
        ("bf16", {"DREAMTRACE_DEVICE": "cpu"}, False),
        ("bf16", {"CUDA_VISIBLE_DEVICES": "-1"}, False),
        ("bf16", {"CUDA_VISIBLE_DEVICES": ""}, False),
    ],
)
def test_a_gpu_that_torch_cannot_use_never_means_a_slow_run_without_a_word(
    precision: str, environment: dict[str, str], refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho NVIDIA H100\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("DREAMTRACE_DEVICE", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    params = Train.model_construct(precision=precision, processes=1)
    if refused:
        with pytest.raises(DeviceError, match=r"has a GPU \(NVIDIA H100\), but torch .* cannot use it"):
            make_accelerator(params)
    else:
        assert make_accelerator(params).device.type == "cpu"
