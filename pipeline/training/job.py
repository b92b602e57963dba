"""The inputs of a training run, and its summary."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.params import Preview, Train
from pipeline.training.data import Sample
from pipeline.training.state import Row


@dataclass(frozen=True)
class Job:
    """What is trained on what: `base` is a pipeline folder, samples have the base's size, `model` is the folder to
    write.

    Without class images there is no prior preservation. `heldout` photos are not trained on, only their loss is
    computed. `checkpoints` must belong to these very inputs: the run resumes from whatever is in it, and writes
    candidates to its subfolder `candidates`. Of a `trial`, which ends before it writes anything, the disk need not hold
    a training.
    """

    base: Path
    variant: str | None
    photos: Sequence[Sample]
    class_images: Sequence[Sample]
    token: str
    class_noun: str
    params: Train
    checkpoints: Path
    model: Path
    heldout: Sequence[Sample] = field(default_factory=list)
    preview: Preview | None = None
    trial: bool = False

    @property
    def candidates(self) -> Path:
        return self.checkpoints / "candidates"


@dataclass(frozen=True)
class TrainingSummary:
    """The figures of a finished run; `rows` is the curve, `resumed_from` the step of the checkpoint that it resumed
    from (0: none). Speed, seconds and device are those of the last process that trained, over its `timed_steps`.
    """

    steps: int
    resumed_from: int
    timed_steps: int
    seconds: float
    images_per_second: float
    device: str
    rows: list[Row]

    def as_json(self) -> dict[str, Any]:
        """The summary without the curve, but with the losses of its last row."""
        value = asdict(self)
        rows = value.pop("rows")
        last = {name: number for name, number in rows[-1].items() if name.endswith("loss")} if rows else {}
        return {
            **value,
            "seconds": round(self.seconds, 1),
            "images_per_second": round(self.images_per_second, 2),
            **last,
        }
