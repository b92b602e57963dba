"""Run Prefect's worker as the first process of a container: `worker.py COMMAND ...`.

Docker tells that process alone to end, and the worker leaves its runs alone. Here both are told, a training saves its
state, and all are waited for.
"""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.processes import Command
from pipeline.training.signals import SAVE_S


def main(command: Sequence[str]) -> int:
    """Run the command to its end, or until SIGTERM; returns its exit status, 0 after SIGTERM."""
    signal.signal(signal.SIGTERM, _leave)
    with Command(command, Path(), os.environ, SAVE_S, apart=True) as running:
        for said in running.output():
            sys.stdout.write(said or "")
            sys.stdout.flush()
            if said is None and running.process.poll() is not None:
                break
    return running.process.returncode


def _leave(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
