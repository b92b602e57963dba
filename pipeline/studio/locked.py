"""Changes of photos and parameters: one at a time, and none while a run reads them."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from pipeline.runs.photo_desk import DeskError
from pipeline.studio.workplace import Workplace

HERE = "here"  # the name of the run in this workspace
Given = ParamSpec("Given")
Made = TypeVar("Made")


def locked(place: Workplace, work: Callable[Given, Made]) -> Callable[Given, Made]:
    """The same work, to be called in a thread; it is refused while a run of this studio is at work.

    Raises:
        DeskError: one is.
    """

    def one_at_a_time(*given: Given.args, **named: Given.kwargs) -> Made:
        if place.runs_now(HERE):
            raise DeskError("a run is at work on these photos; stop it, or wait for its end")
        with place.lock:
            return work(*given, **named)

    return one_at_a_time
