"""Two halves of a micro-batch side by side against the whole, on a CPU: `python -m benchmarks.halves [--rounds 5]`.

Trains the embedded base as the demo does, in processes that take turns: the halves side by side with half of the cores
each, and the whole micro-batch on all cores. Printed are the median seconds of a step, as a ratio, and the processor
time of one, for each precision that is asked for.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.apart import measured_apart
from pipeline.environment import prepare_environment

SIDE, PHOTOS, WARM = 64, 12, 4


def measure(steps: int, precision: str, whole: bool) -> None:
    """Train, and print the median seconds of a step and the processor seconds of one."""
    import numpy as np
    import yaml
    from PIL import Image

    from pipeline.params import Train
    from pipeline.runs.profiles import find_profile
    from pipeline.training import steps as trainer
    from pipeline.training.data import Sample
    from pipeline.training.job import Job
    from pipeline.training.training_loop import train

    if whole:
        trainer.HALVES = 1
    values = yaml.safe_load(find_profile("pocket").path.read_text(encoding="utf-8"))["train"]
    values |= {"steps": steps, "log_every": 1, "validate_every": 0, "checkpoint_every": steps, "save_every": 0}
    values |= {"precision": precision, "background_weight": 1.0}
    at: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as name:
        folder, random = Path(name), np.random.default_rng(0)
        for number in range(PHOTOS):
            pixels = random.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
        files = sorted(folder.glob("*.png"))
        job = Job(
            base=Path(__file__).parents[1] / "pocket" / "model",
            variant=None,
            photos=[Sample(file, "a photo of mysks plush toy") for file in files],
            class_images=[Sample(file, "a photo of a plush toy") for file in files],
            token="mysks",
            class_noun="plush toy",
            params=Train.model_validate(values),
            checkpoints=folder / "checkpoints",
            model=folder / "model",
        )
        train(job, lambda row: at.append((time.monotonic(), time.process_time())))
    taken = [later[0] - earlier[0] for earlier, later in zip(at[WARM:], at[WARM + 1 :], strict=False)]
    print(statistics.median(taken), (at[-1][1] - at[WARM][1]) / len(taken))


def run(steps: int, precision: str, whole: bool) -> tuple[float, float]:
    """Measure in a process of its own."""
    return measured_apart("halves", ["--steps", str(steps), "--one", precision, *["--whole"] * whole])


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--whole", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    prepare_environment()
    if arguments.one:
        return measure(arguments.steps, arguments.one, arguments.whole)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    for precision in arguments.precisions:
        halves, whole = [], []
        for _ in range(arguments.rounds):
            halves.append(run(arguments.steps, precision, False))
            whole.append(run(arguments.steps, precision, True))
        ratios = sorted(b[0] / a[0] for a, b in zip(halves, whole, strict=True))
        processor = statistics.median(b[1] / a[1] for a, b in zip(halves, whole, strict=True))
        print(
            f"{precision}: the whole takes {statistics.median(ratios):.2f} times as long as the halves "
            f"({ratios[0]:.2f} to {ratios[-1]:.2f} in {arguments.rounds} rounds), and {processor:.2f} times the "
            "processor time"
        )
    return None


if __name__ == "__main__":
    main()
