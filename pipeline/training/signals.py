"""Stop requests by signal, and the time that a training has for them."""

import ctypes
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# Seconds from SIGTERM to SIGKILL, to finish a step and write a checkpoint: Stable Diffusion's with averaged weights is
# 9 to 14 GB. Prefect kills the process of a cancelled run after 30 s; the guard of `Command` then gives the training
# this time all the same.
SAVE_S = 180.0
PR_SET_PDEATHSIG = 1  # Linux; see prctl(2)


def end_with_parent() -> None:
    """Have the system kill this process when its parent dies; where it cannot be asked for that, nothing changes.

    Torch's launcher starts each process of a training in a session of its own, so that whoever kills the launcher's
    process group does not reach them: they would go on writing.
    """
    if hasattr(library := ctypes.CDLL(None), "prctl"):
        library.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set; outside the main thread, where handlers cannot be installed, it is never
    set.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    old = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
