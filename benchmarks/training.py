"""The trainer against diffusers' `train_dreambooth.py`: `python -m benchmarks.training --official PATH`.

The same work goes through both, in processes of their own, in turns: base folder, 15 photos of 512 pixels (and class
images), batch, precision, optimizer, steps. Printed are images per second between two steps, time to the first step,
peak memory, and the ratios of the medians; the instance images count, as in the official script's batch size.

The official script trains the U-Net alone; ours is measured so, too, and with the token learned (`--token`).
It may need a virtual environment of its own (`--python`) and words before its path (`--before`, such as a runner).
`--base sd15` makes a folder with Stable Diffusion v1.5's architecture and random weights, which run as fast as any.
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.environment import prepare_environment
from pipeline.training.malloc import EARLIER, use_fast_malloc

STEPS_BAR = re.compile(rb"Steps:.*?\| *(\d+)/\d+")
WARM = 3  # steps before the clock starts
PHOTO_SIDE = 512  # of the 15 photos, as in the reference run


@dataclass
class Work:
    """What both trainers do; `photos` and `classes` are folders of square pictures (no class images: '')."""

    base: str
    photos: str
    classes: str
    side: int
    batch: int
    steps: int
    precision: str
    optimizer: str
    checkpointing: bool
    token: bool = False
    compile: bool = False


@dataclass
class Measured:
    images_per_second: float
    first_step_seconds: float
    memory_gb: float


def ours(work: Work) -> None:
    """Run the trainer on `work`; one JSON line a step on standard output."""
    from pipeline.params import Train
    from pipeline.runs.profiles import find_profile
    from pipeline.training.data import Sample
    from pipeline.training.job import Job
    from pipeline.training.training_loop import train

    import yaml  # isort: skip

    values = yaml.safe_load(find_profile("thesis").path.read_text(encoding="utf-8"))["train"]
    values |= {"steps": work.steps, "batch": work.batch, "precision": work.precision, "optimizer": work.optimizer}
    values |= {"gradient_checkpointing": work.checkpointing, "log_every": 1, "validate_every": 0}
    values |= {"checkpoint_every": work.steps, "compile": work.compile}
    values["token"] |= {"learn": work.token, "start_from": "toy"}
    with tempfile.TemporaryDirectory() as folder:
        photos = [Sample(path, "a photo of mysks plush toy") for path in prepared(work, Path(folder))]
        classes = [Sample(path, "a photo of a plush toy") for path in sorted(Path(work.classes).glob("*.jpg"))]
        job = Job(
            base=Path(work.base),
            variant=None,
            photos=photos,
            class_images=classes if work.classes else [],
            token="mysks",
            class_noun="plush toy",
            params=Train.model_validate(values),
            checkpoints=Path(folder) / "checkpoints",
            model=Path(folder) / "model",
        )
        train(job, lambda row: print(json.dumps({"step": row["step"]}), flush=True))


def prepared(work: Work, folder: Path) -> list[Path]:
    """The photos in the size that is trained on, as the stage `prepare` makes them: once."""
    from PIL import Image

    from pipeline.photos.crop import crop_box, fit

    for path in sorted(Path(work.photos).glob("*.jpg")):
        with Image.open(path) as photo:
            box = crop_box(photo.width, photo.height, "center")
            fit(photo.convert("RGB"), box, (work.side, work.side)).save(folder / f"{path.stem}.png")
    return sorted(folder.glob("*.png"))


def official_command(work: Work, arguments: argparse.Namespace, out: str) -> list[str]:
    """The official script's command line for `work`."""
    command = [arguments.python, *arguments.before.split(), arguments.official]
    command += ["--pretrained_model_name_or_path", work.base, "--instance_data_dir", work.photos]
    command += ["--instance_prompt", "a photo of mysks plush toy", "--resolution", str(work.side)]
    command += ["--train_batch_size", str(work.batch), "--max_train_steps", str(work.steps), "--output_dir", out]
    command += ["--learning_rate", "2e-6", "--lr_scheduler", "constant", "--lr_warmup_steps", "0", "--seed", "1"]
    command += ["--mixed_precision", "no" if work.precision == "fp32" else work.precision]
    command += ["--checkpointing_steps", "1000000"]
    if work.optimizer == "adamw-8bit":
        command.append("--use_8bit_adam")
    if work.checkpointing:
        command.append("--gradient_checkpointing")
    if work.classes:
        count = len(list(Path(work.classes).glob("*.jpg")))
        command += ["--with_prior_preservation", "--class_data_dir", work.classes, "--num_class_images", str(count)]
        command += ["--class_prompt", "a photo of a plush toy"]
    return command


def official_images(work: Work, first: int, last: int) -> int:
    """Photos that the official script trains on in the steps after `first` up to `last`.

    Its loader hands out the smaller rest at the end of a pass, over as many examples as there are photos or class
    images, whichever are more. This trainer's batches are always whole.
    """
    pictures = max(len(list(Path(folder).glob("*.jpg"))) for folder in (work.photos, work.classes) if folder)
    batches = [min(work.batch, pictures - start) for start in range(0, pictures, work.batch)]
    return sum(batches[step % len(batches)] for step in range(first, last))


def whole_batches(work: Work, first: int, last: int) -> int:
    """The same for this trainer."""
    return work.batch * (last - first)


def measure(
    command: list[str], work: Work, images: Callable[[Work, int, int], int], environment: dict[str, str]
) -> Measured:
    """Run a trainer and follow its steps: the official script's bar, or our lines."""
    began = time.monotonic()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, **environment}
    )
    assert process.stdout
    seen: dict[int, float] = {}
    tail = b""
    gpu, resident = GpuMemory(), ResidentMemory(process.pid)
    while chunk := os.read(process.stdout.fileno(), 65536):
        tail = (tail + chunk)[-20000:]
        gpu.look()
        resident.look()
        for found in STEPS_BAR.findall(tail) + re.findall(rb'\{"step": (\d+)', tail):
            seen.setdefault(int(found), time.monotonic())
    if process.wait() or len(steps := sorted(step for step in seen if step >= WARM)) < 2:
        sys.exit(f"{' '.join(command[:4])} ... failed:\n{tail.decode(errors='replace')[-3000:]}")
    first, last = steps[0], steps[-1]
    return Measured(
        images_per_second=images(work, first, last) / (seen[last] - seen[first]),
        first_step_seconds=seen[min(step for step in seen if step >= 1)] - began,
        memory_gb=gpu.peak or resident.peak,
    )


class ResidentMemory:
    """Peak of a process's resident memory in 10^9 bytes, read whenever the process prints something."""

    def __init__(self, pid: int):
        self.pid, self.peak = pid, 0.0

    def look(self) -> None:
        """Read the high-water mark, while the process runs."""
        from pipeline.training.meter import peak_resident

        self.peak = max(self.peak, peak_resident(self.pid) or 0.0)


class GpuMemory:
    """Peak of the memory that processes hold on the first GPU, in GB; 0 without one."""

    def __init__(self) -> None:
        self.peak, self.looked = 0.0, 0.0

    def look(self) -> None:
        """Ask nvidia-smi, at most twice a second."""
        if time.monotonic() - self.looked < 0.5:
            return
        self.looked = time.monotonic()
        command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        try:
            answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        except (OSError, subprocess.CalledProcessError):
            return
        self.peak = max(self.peak, float(answer[0]) * 2**20 / 1e9)


def flops_per_image(base: str, side: int) -> float:
    """Floating-point operations of the U-Net's forward and backward pass over one image, counted."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from pipeline.base.components import load_parts

    parts = load_parts(Path(base))
    unet = parts.unet.to("cuda") if torch.cuda.is_available() else parts.unet
    device = next(unet.parameters()).device
    place = side // 2 ** (len(parts.vae.config.block_out_channels) - 1)
    states = torch.zeros(1, 77, unet.config.cross_attention_dim, device=device)
    with FlopCounterMode(display=False) as counter:
        unet(torch.zeros(1, unet.config.in_channels, place, place, device=device), 1, states).sample.sum().backward()
    return float(counter.get_total_flops())


def matrix_peak(precision: str) -> float:
    """Operations per second of one large matrix product, the best of several."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    size = 8192 if device == "cuda" else 2048
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]
    one, other = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best = 0.0
    for _ in range(20):
        began = time.monotonic()
        float((one @ other)[0, 0])
        best = max(best, 2 * size**3 / (time.monotonic() - began))
    return best


def make_pictures(folder: Path, count: int, side: int) -> str:
    """Square JPEG photos to train on: what they show makes no difference to speed."""
    import numpy as np
    from PIL import Image

    folder.mkdir()
    for index in range(count):
        coarse = np.random.default_rng(index).integers(0, 255, (9, 9, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC).save(
            folder / f"{index:03}.jpg", quality=95
        )
    return str(folder)


def base_folder(name: str, scratch: Path) -> Path:
    """`pocket`, `sd15` with random weights, or a folder."""
    from pipeline.params import Base
    from pipeline.base.resolve import resolve_base  # isort: skip

    if name != "sd15":
        return resolve_base(Base(model=name, revision=None, variant=None)).folder
    from benchmarks.sd15 import make_sd15

    make_sd15(scratch / "sd15")
    return scratch / "sd15"


def main() -> None:
    prepare_environment()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", help="path of diffusers' train_dreambooth.py; without it ours is measured alone")
    parser.add_argument("--python", default=sys.executable, help="the Python that runs the official script")
    parser.add_argument("--before", default="", help="words between that Python and the script's path")
    parser.add_argument("--base", default="pocket", help="pocket, sd15 (random weights) or a pipeline folder")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each; medians are compared")
    parser.add_argument("--precision", default="bf16", choices=["fp32", "bf16", "fp16"])
    parser.add_argument("--optimizer", default="adamw-8bit", choices=["adamw", "adamw-8bit"])
    parser.add_argument("--classes", type=int, default=0, help="class images; 0: no prior preservation")
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--compile", action="store_true", help="ours with train.compile")
    parser.add_argument("--plain-malloc", action="store_true", help="ours without tcmalloc or jemalloc")
    parser.add_argument("--ours", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.ours:
        use_fast_malloc()  # as the stage `train` does
        return ours(Work(**json.loads(arguments.ours)))
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(compare(arguments, Path(name)), indent=2))


def compare(arguments: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """All turns and their medians."""
    from pipeline.base.components import load_parts

    base = base_folder(arguments.base, scratch)
    parts = load_parts(base)
    side = parts.unet.config.sample_size * 2 ** (len(parts.vae.config.block_out_channels) - 1)
    del parts
    work = Work(
        base=str(base),
        photos=make_pictures(scratch / "photos", 15, PHOTO_SIDE),
        classes=make_pictures(scratch / "classes", arguments.classes, side) if arguments.classes else "",
        side=side,
        batch=arguments.batch,
        steps=arguments.steps,
        precision=arguments.precision,
        optimizer=arguments.optimizer,
        checkpointing=arguments.gradient_checkpointing,
        compile=arguments.compile,
    )
    turns: dict[str, list[Measured]] = {"ours": [], "ours, token learned": []}
    if arguments.official:
        turns["official"] = []
    for number in range(arguments.rounds):
        for which, found in turns.items():
            print(f"round {number + 1} of {arguments.rounds}: {which}", file=sys.stderr)
            if which == "official":
                command = official_command(work, arguments, str(scratch / f"official-{number}"))
                found.append(measure(command, work, official_images, {"HF_HUB_OFFLINE": "1"}))
            else:
                value = json.dumps(asdict(work) | {"token": which != "ours"})
                command = [sys.executable, "-m", "benchmarks.training", "--ours", value]
                found.append(measure(command, work, whole_batches, {EARLIER: ""} if arguments.plain_malloc else {}))
    medians = {
        which: {name: statistics.median(getattr(one, name) for one in found) for name in Measured.__dataclass_fields__}
        for which, found in turns.items()
    }
    per_image = flops_per_image(work.base, side) * (2 if arguments.classes else 1)
    peak = matrix_peak(work.precision)
    for values in medians.values():
        values["share_of_matrix_peak"] = values["images_per_second"] * per_image / peak
    rounded = {which: {key: round(value, 3) for key, value in values.items()} for which, values in medians.items()}
    result: dict[str, Any] = {
        "work": {key: value for key, value in asdict(work).items() if key not in ("base", "photos", "classes", "token")}
        | {"base": arguments.base, "class images": arguments.classes},
        "hardware": hardware(),
        "unet_flops_per_image": per_image,
        "medians": rounded,
        "turns": {which: [round(one.images_per_second, 2) for one in found] for which, found in turns.items()},
    }
    if arguments.official:
        result["ratios"] = {
            which: {key: round(medians[which][key] / medians["official"][key], 3) for key in medians["official"]}
            for which in medians
            if which != "official"
        }
    return result


def hardware() -> str:
    """The processor or GPU, in words."""
    import torch

    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", info.read_text()) if info.is_file() else []
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"


if __name__ == "__main__":
    main()
