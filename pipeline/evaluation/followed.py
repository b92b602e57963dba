"""Drawings that follow shapes, and which shape each prompt is drawn with."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LEAST_SHAPES = 2  # an interval over shapes needs as many


@dataclass(frozen=True)
class Followed:
    """A drawing of the tuned model that follows a shape, and the one of the same prompt and noise that follows none.

    `shape` is the control picture's file; `photo` the training photo that it is of.
    """

    path: Path
    free: Path
    shape: Path
    photo: str
    prompt_id: str
    seed: int


@dataclass(frozen=True)
class Following:
    """What was drawn after shapes, and what with: `control` is as `sample.control` has it, `digest` the adapter's.

    `instrument` is what could be reached: what the outline network says of pictures whose outlines are known, or how
    far the edges of the photos themselves agree with their shapes.
    """

    control: dict[str, Any]
    digest: str
    drawings: list[Followed]
    instrument: float | None = None


def shapes_in_turn(photos: Sequence[str], prompts: Sequence[str]) -> dict[str, str]:
    """The photo whose shape each prompt is drawn with: they take turns, and each has as many prompts.

    Each round begins with the next photo, so that prompts that take turns among groups do not meet the same shapes
    again. Prompts that are left over have none.
    """
    used = list(photos[: len(prompts)])
    rounds = len(prompts) // len(used) if used else 0
    order = [name for at in range(rounds) for name in [*used[at % len(used) :], *used[: at % len(used)]]]
    return dict(zip(prompts[: len(order)], order, strict=True))
