"""Changes of photos and parameters: one at a time, and none while a run reads them."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from pipeline.runs.dvc_locks import RUN_LOCK, is_held
from pipeline.runs.photo_desk import DeskError
from pipeline.studio.workplace import Workplace

HERE = "here"  # the name of the run in this workspace
Given = ParamSpec("Given")
Made = TypeVar("Made")


def is_run_at_work(place: Workplace) -> bool:
    """Whether a run of this studio, or one that was started in a terminal, reads photos and parameters."""
    return place.runs_now(HERE) or is_held(place.path / RUN_LOCK)


def locked(place: Workplace, work: Callable[Given, Made]) -> Callable[Given, Made]:
    """The same work, to be called in a thread; it is refused while a run is at work in this workspace.

    Raises:
        DeskError: one is.
    """

    def one_at_a_time(*given: Given.args, **named: Given.kwargs) -> Made:
        with place.lock:
            if is_run_at_work(place):
                raise DeskError("a run is at work on these photos; stop it, or wait for its end")
            return work(*given, **named)

    return one_at_a_time
