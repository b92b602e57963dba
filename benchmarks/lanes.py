"""Small pictures drawn in lanes against one batch on all cores, on a CPU: `python -m benchmarks.lanes [--rounds 5]`.

Draws pictures of 64 pixels with the embedded base as the demo's stages do, in processes that take turns: four at once
in each of two lanes with half of the cores, and eight at once on all cores. Printed are the medians, as ratios.
"""

import argparse
import os
import platform
import statistics
import time
from pathlib import Path

from benchmarks.apart import measured_apart
from pipeline.environment import prepare_environment

SIDE, STEPS, GUIDANCE, WHOLE = 64, 20, 3.0, 8


def measure(pictures: int, whole: bool) -> None:
    """Draw, and print the seconds and the processor seconds of all pictures."""
    from pipeline.sampling.sampler import Request, Sampler

    sampler = Sampler.load(Path(__file__).parents[1] / "pocket" / "model", "ddim", "fp32")
    requests = [Request("a photo of a plush toy in the forest", seed) for seed in range(pictures)]

    def draw(steps: int) -> None:
        if whole:
            for at in range(0, pictures, WHOLE):
                sampler._draw_batch(requests[at : at + WHOLE], steps, GUIDANCE, SIDE)
        else:
            list(sampler.draw(requests, steps, GUIDANCE, SIDE, WHOLE))

    draw(1)
    wall, processor = time.monotonic(), time.process_time()
    draw(STEPS)
    print(time.monotonic() - wall, time.process_time() - processor)


def run(pictures: int, whole: bool) -> tuple[float, float]:
    """Measure in a process of its own."""
    return measured_apart("lanes", ["--pictures", str(pictures), "--one", *["--whole"] * whole])


def main() -> None:
    """Read the command line and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--whole", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    prepare_environment()
    if arguments.one:
        measure(arguments.pictures, arguments.whole)
        return
    lanes, wholes = [], []
    for _ in range(arguments.rounds):
        lanes.append(run(arguments.pictures, whole=False))
        wholes.append(run(arguments.pictures, whole=True))
    print(f"{platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} cores")
    for name, which in (("time", 0), ("processor time", 1)):
        ratios = [whole[which] / lane[which] for lane, whole in zip(lanes, wholes, strict=True)]
        print(
            f"one batch on all cores takes {statistics.median(ratios):.2f} times the {name} of two lanes "
            f"({min(ratios):.2f} to {max(ratios):.2f}, {arguments.rounds} rounds)"
        )


if __name__ == "__main__":
    main()
