"""Does the verdict find faults that were planted? `python -m benchmarks.planted train|judge|table --work FOLDER`.

`train` makes the checkpoints of `benchmarks.plants`, several at once on one thread each; what is there already is not
made again.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import plants
from pipeline.environment import prepare_environment


def train_all(work: Path, jobs: int) -> None:
    """Train every checkpoint that is missing, `jobs` at once, the cases for calibration first."""
    from pipeline.stages import prior

    for toy in plants.TOYS:
        plants.prepare(toy, work)
    if not (work / "artifacts" / "prior").is_dir():
        prior.run(work, plants.params_of("mysks", 0))
    models = {case.model(work): index for index, case in reversed(list(enumerate(plants.cases())))}
    wanted = [
        index
        for model, index in sorted(models.items(), key=lambda item: item[1])
        if model is not None and not (model / "model_index.json").is_file()
    ]
    running: dict[int, subprocess.Popen[bytes]] = {}
    failed = []
    while wanted or running:
        while wanted and len(running) < jobs:
            index = wanted.pop(0)
            command = [sys.executable, "-m", "benchmarks.planted", "one", "--work", str(work), "--case", str(index)]
            running[index] = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
        for index, process in list(running.items()):
            if process.poll() is not None:
                del running[index]
                failed += [index] if process.returncode else []
        time.sleep(0.2)
    if failed:
        sys.exit(f"cases {failed} failed")


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["train", "one"])
    parser.add_argument("--work", type=Path, required=True, help="folder for photos, checkpoints and pictures")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at once, one thread each")
    parser.add_argument("--case", type=int, default=0, help="number of the case for `one`")
    arguments = parser.parse_args()
    prepare_environment()
    if arguments.part == "one":
        plants.train_case(list(plants.cases())[arguments.case], arguments.work)
    else:
        train_all(arguments.work.resolve(), arguments.jobs)


if __name__ == "__main__":
    main()
