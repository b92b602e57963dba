"""What `sample.control` asks for: prompts, each with the shape of a training photo."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.base.control_adapter import ControlAdapter
from pipeline.evaluation.followed import LEAST_SHAPES, shapes_in_turn
from pipeline.evaluation.suite import Suite, part_of
from pipeline.files import digest_value
from pipeline.layout import PREPARED
from pipeline.params import Draw, SampleControl
from pipeline.photos.manifest import Photo
from pipeline.sampling.control_pictures import control_picture, square_of

if TYPE_CHECKING:
    from PIL.Image import Image


SUBJECT = 128  # from which grey a mask shows the subject


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
    """Prompts of the subject with shapes of training photos that have masks; none where fewer than two have a shape.

    A photo without edges has none, and of silhouettes one whose mask covers everything or nothing.
    """
    import numpy as np
    from PIL import Image

    prompts = {one.id: one.text for one in part_of(suite, len(suite.prompts)).prompts if one.kind == "subject"}
    shapes: dict[str, Image.Image] = {}
    for one in photos:
        if one.split != "train" or one.mask is None or len(shapes) == wanted.prompts:
            continue
        with Image.open(workspace / PREPARED / one.file) as photo, Image.open(workspace / PREPARED / one.mask) as mask:
            picture, alpha = (
                square_of(whole).resize((size, size)) for whole in (photo.convert("RGB"), mask.convert("L"))
            )
        covered = np.asarray(alpha) >= SUBJECT
        if wanted.kind == "silhouette" and (covered.all() or not covered.any()):
            continue
        try:
            shape = control_picture(picture, wanted.kind, alpha)
        except ValueError:
            continue
        shapes[one.file] = shape
    if len(shapes) < LEAST_SHAPES:
        return []
    turns = shapes_in_turn(list(shapes), list(prompts)[: wanted.prompts])
    return [Asked(prompt, prompts[prompt], name, shapes[name]) for prompt, name in turns.items()]


def drawn_with(adapter: ControlAdapter, wanted: SampleControl, model: str, draw: Draw) -> str:
    """sha256 over what draws after shapes: the model, the adapter, how it counts, and the settings (`sample.draw`)."""
    return digest_value([model, adapter.digest, wanted.kind, wanted.scale, draw.settings])
