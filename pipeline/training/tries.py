"""What a training that was interrupted ran with, before and after: code, libraries, hardware and device."""

from collections.abc import Sequence
from typing import Any

Try = dict[str, Any]  # `code`, `environment`, `device`; and `from_step`, the number of steps finished when it began
COMPARED = {"code": "code", "environment": "libraries or hardware", "device": "device"}


def tries_with(tries: Sequence[Try], step: int, now: dict[str, Any]) -> list[Try]:
    """The tries whose steps a training holds, the present one among them, which begins after `step` steps.

    A try that left no checkpoint, or only damaged ones, counts for nothing. One that goes on with all that the one
    before it had is a part of that; where something is another, a line is printed.

    Args:
        now: the present try without `from_step`.
    """
    kept = [one for one in tries if one["from_step"] < step]
    if kept:
        before = kept[-1]
        changed = [name for name in COMPARED if before[name] != now[name]]
        if not changed:
            return kept
        devices = f" ({before['device']} before, {now['device']} now)" if "device" in changed else ""
        others = " and ".join(COMPARED[name] for name in changed)
        print(f"the training goes on from step {step} with other {others}{devices} than before; its record says so")
    return [*kept, {"from_step": step, **now}]
