"""Changes of photos and parameters: one at a time, and none while a run reads them."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from pipeline.runs.dvc_locks import only_change
from pipeline.runs.photo_desk import DeskError
from pipeline.studio.workplace import Workplace

HERE = "here"  # the name of the run in this workspace
Given = ParamSpec("Given")
Made = TypeVar("Made")


def locked(place: Workplace, work: Callable[Given, Made]) -> Callable[Given, Made]:
    """The same work, to be called in a thread. It is refused while a run is at work in this workspace, and runs and
    commands are refused while it lasts.

    Raises:
        DeskError: a run of this studio is at work.
        DvcBusy: one that was started in a terminal, or a command that changes photos or parameters.
    """

    def one_at_a_time(*given: Given.args, **named: Given.kwargs) -> Made:
        with place.lock:
            if place.runs_now(HERE):
                raise DeskError("a run is at work on these photos; stop it, or wait for its end")
            with only_change(place.path, "the studio"):
                return work(*given, **named)

    return one_at_a_time
