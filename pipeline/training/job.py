"""What a training run is asked to do, and what it tells when it is done."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.params import Preview, Train
from pipeline.training.data import Sample
from pipeline.training.state import Row


@dataclass(frozen=True)
class Job:
    """What is trained on what: `base` a pipeline folder, samples of the base's size, `model` the folder to write.

    Without class images there is no prior preservation. `heldout` photos are never trained on; the loss on them is
    watched. `checkpoints` belongs to these very inputs: whatever lies in it is taken up; candidates are written to
    its folder `candidates`.
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

    @property
    def candidates(self) -> Path:
        return self.checkpoints / "candidates"


@dataclass(frozen=True)
class Totals:
    """The run in numbers; `rows` is the curve, `resumed_from` the step of the checkpoint it went on from (0: none)."""

    steps: int
    resumed_from: int
    seconds: float
    images_per_second: float
    device: str
    rows: list[Row]

    def as_json(self) -> dict[str, Any]:
        """The totals without the curve, losses of the last row included."""
        value = asdict(self)
        rows = value.pop("rows")
        last = {name: number for name, number in rows[-1].items() if name.endswith("loss")} if rows else {}
        return {
            **value,
            "seconds": round(self.seconds, 1),
            "images_per_second": round(self.images_per_second, 2),
            **last,
        }
