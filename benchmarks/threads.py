"""How torch's threads bear a busy machine: `python -m benchmarks.threads [--busy 2] [--rounds 3]`.

Trains the embedded base for a few steps (batch 8, bf16, 8-bit AdamW) beside `busy` processes that compute without a
pause, with one and with two threads, and with threads that wait asleep instead of spinning (OMP_WAIT_POLICY=passive).
Settings take turns. Printed are the median seconds of a step as ratios to torch's own settings on the quiet machine.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.training import WARM, Work, make_pictures, ours
from pipeline.environment import prepare_environment

POLICY = "OMP_WAIT_POLICY"
SETTINGS: dict[str, dict[str, str]] = {
    "two threads, spinning": {"OMP_NUM_THREADS": "2"},
    "two threads, passive": {"OMP_NUM_THREADS": "2", POLICY: "passive"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
RUN = "import sys; from benchmarks.threads import train; train(sys.argv[1])"


def train(work: str) -> None:
    """Train with threads that wait as the setting says, or as is torch's own way.

    On a machine that has been busy within the last minute `prepare_environment` makes them wait asleep.
    """
    asked = os.environ.get(POLICY)
    prepare_environment()
    if asked is None:
        os.environ.pop(POLICY, None)
    ours(Work(**json.loads(work)))


def step_seconds(work: Work, environment: dict[str, str]) -> float:
    """Median seconds of a step, after `WARM` steps."""
    command = [sys.executable, "-c", RUN, json.dumps(vars(work))]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**clean, **environment}
    ) as process:
        assert process.stdout
        at = [time.monotonic() for line in process.stdout if line.startswith("{")]
    if process.returncode != 0 or len(at) < work.steps:
        raise SystemExit(f"the training ended with status {process.returncode} after {len(at)} of {work.steps} steps")
    return statistics.median(after - before for before, after in zip(at[WARM:-1], at[WARM + 1 :], strict=True))


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--busy", type=int, default=2, help="processes that compute beside the training")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photos = make_pictures(Path(folder) / "photos", 15, 512)
        base = str(Path(__file__).resolve().parents[1] / "pocket" / "model")
        work = Work(base, photos, "", 64, 8, arguments.steps, "bf16", "adamw-8bit", False)
        seconds: dict[str, list[float]] = {}
        for _ in range(arguments.rounds):
            for busy in (0, arguments.busy):
                others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
                try:
                    for name, environment in SETTINGS.items():
                        key = f"{name}, {busy} other processes"
                        seconds.setdefault(key, []).append(step_seconds(work, environment))
                        print(f"{key}: {seconds[key][-1]:.3f} s", file=sys.stderr, flush=True)
                finally:
                    for other in others:
                        other.kill()
                        other.wait()
    reference = statistics.median(seconds["two threads, spinning, 0 other processes"])
    ratios = {key: round(statistics.median(found) / reference, 2) for key, found in seconds.items()}
    print(json.dumps({"cores": os.cpu_count(), "rounds": arguments.rounds, "step_time": ratios}, indent=2))


if __name__ == "__main__":
    main()
