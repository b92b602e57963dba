"""A word on standard error where a command has said nothing for two seconds, so that nobody takes it for stuck."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SILENT_S = 2.0
# What commands do that may take longer than that before their first line.
BUSY_WITH = {
    "list": "reading the registry",
    "clean": "looking for leftovers",
    "status": "asking DVC what has changed",
    "trace": "reading the record",
    "compare": "reading both evaluations",
    "reproduce": "reading the record",
    "export": "reading the model",
    "generate": "loading the model, then drawing",
    "estimate": "computing a training step without data",
    "token": "reading the base",
    "promote": "examining the version: gates, record, photos, champion",
    "rollback": "reading the registry",
    "reject": "reading the registry",
    "publish": "reading the registry",
    "fetch": "fetching",
    "impact": "looking through the registered versions",
    "withdraw": "looking through the registered versions",
    "deploy": "asking Prefect's server",
    "params": "checking the parameters",
}


@contextmanager
def patience(words: list[str]) -> Iterator[None]:
    """Within it, `words` (the arguments of the program) are at work; what they do is named once if it takes long."""
    doing = next((BUSY_WITH[word] for word in words[:1] if word in BUSY_WITH), None)
    if doing is None or {"--help", "-h"} & set(words):
        yield
        return
    timer = threading.Timer(SILENT_S, lambda: print(f"{doing} ...", file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
