"""Programs that propose masks of the subject."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.base.judges import resolve_encoder
from pipeline.base.resolve import BaseNotFound
from pipeline.files import read_json

if TYPE_CHECKING:
    from PIL.Image import Image

DEFAULT = "CIDAS/clipseg-rd64-refined"
THRESHOLD = 0.4  # probability from which a pixel belongs to the subject


class ClipSeg:
    """CLIPSeg (Lüddecke and Ecker 2022, arXiv 2112.10003): the part of a picture that a text names."""

    def __init__(self, folder: Path):
        from transformers import CLIPSegForImageSegmentation, CLIPSegProcessor

        self.processor = CLIPSegProcessor.from_pretrained(folder, local_files_only=True)
        self.model = CLIPSegForImageSegmentation.from_pretrained(folder, local_files_only=True).eval()

    def paint(self, pictures: Sequence["Image"], noun: str) -> list["Image"]:
        """White where the picture shows a `noun`, black elsewhere: mode L, each of the size of its picture."""
        import numpy as np
        import torch
        from PIL import Image

        found = []
        for picture in pictures:
            inputs = self.processor(text=[noun], images=[picture], return_tensors="pt")
            with torch.inference_mode():
                logits = self.model(**inputs).logits
            share = torch.sigmoid(logits.reshape(logits.shape[-2:])).numpy()
            grown = Image.fromarray((share * 255).astype(np.uint8)).resize(picture.size, Image.Resampling.BILINEAR)
            found.append(grown.point(lambda value: 255 * (value >= 255 * THRESHOLD)))
        return found


def find_painter(model: str, revision: str | None) -> ClipSeg:
    """The network in a folder or on the hub.

    Raises:
        BaseNotFound: it is not available.
    """
    folder = resolve_encoder("--model", model, revision, "a CLIPSeg")
    if (kind := read_json(folder / "config.json").get("model_type")) != "clipseg":
        raise BaseNotFound(f"--model '{model}' is no CLIPSeg: its config.json says {kind!r}")
    return ClipSeg(folder)
