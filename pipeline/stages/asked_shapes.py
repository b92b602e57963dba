"""What `sample.control` asks for: prompts, each with the shape of a training photo."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.base.control_adapter import ControlAdapter
from pipeline.evaluation.followed import shapes_in_turn
from pipeline.evaluation.suite import Suite, part_of
from pipeline.files import digest_value
from pipeline.layout import PREPARED
from pipeline.params import SampleControl
from pipeline.photos.manifest import Photo
from pipeline.sampling.control_pictures import control_picture

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Asked:
    """A prompt, the photo whose shape it is drawn with, and that shape (mode L)."""

    prompt_id: str
    text: str
    photo: str
    shape: "Image"


def asked_shapes(
    workspace: Path, wanted: SampleControl, suite: Suite, photos: Sequence[Photo], size: int
) -> list[Asked]:
    """Prompts of the subject with the shapes of training photos; none where no photo has a mask."""
    from PIL import Image

    known = {photo.file: photo for photo in photos if photo.split == "train" and photo.mask is not None}
    prompts = {one.id: one.text for one in part_of(suite, len(suite.prompts)).prompts if one.kind == "subject"}
    turns = shapes_in_turn(list(known), list(prompts)[: wanted.prompts])
    shapes = {}
    for name in dict.fromkeys(turns.values()):
        photo, mask = (Image.open(workspace / PREPARED / str(file)) for file in (known[name].file, known[name].mask))
        shape = control_picture(photo.convert("RGB"), wanted.kind, mask.convert("L"))
        shapes[name] = shape.resize((size, size), Image.Resampling.NEAREST)
    return [Asked(prompt, prompts[prompt], name, shapes[name]) for prompt, name in turns.items()]


def drawn_with(adapter: ControlAdapter, wanted: SampleControl, model: str) -> str:
    """sha256 over what draws after shapes: the model, the adapter, and how it counts."""
    return digest_value([model, adapter.digest, wanted.kind, wanted.scale])
