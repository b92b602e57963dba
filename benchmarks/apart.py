"""Measurements in processes of their own, so that none inherits threads, caches or memory of another."""

import subprocess
import sys


def measured_apart(module: str, arguments: list[str]) -> tuple[float, float]:
    """Run `python -m benchmarks.MODULE ARGUMENTS`: the seconds and processor seconds that it prints last."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, processor = done.stdout.split()[-2:]
    return float(seconds), float(processor)
