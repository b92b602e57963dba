"""Programs that propose captions: a captioning network, or the CLIP that judges with a list of places."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pipeline.base.judges import resolve_encoder
from pipeline.base.resolve import BaseNotFound
from pipeline.errors import first_line
from pipeline.evaluation.backbones import Clip
from pipeline.files import scratch_folder

if TYPE_CHECKING:
    from PIL.Image import Image

PLACES = (
    "on a table", "on a wooden floor", "on a carpet", "on grass", "on a bed", "on a sofa", "on a chair", "on a shelf",
    "on a windowsill", "on a stone wall", "on a rock", "on a blanket", "in a living room", "in a kitchen",
    "in a garden", "in a forest", "in a park", "in a field of flowers", "in the snow", "in the desert", "in water",
    "on a beach", "on a city street", "on a mountain", "near a lake", "near books", "in a shop", "in a car",
    "held in a hand", "on a white background", "in front of a wall",
)  # fmt: skip
LONGEST = 40  # tokens that a captioning network may write


class CaptionWriter(Protocol):
    """Proposes captions."""

    def write(self, pictures: Sequence["Image"], noun: str) -> list[str]:
        """A caption for each picture, which names the subject by its class `noun`."""


class PlaceWriter:
    """ "a photo of a plush toy on a beach": of the list of places the one that a CLIP finds nearest to the picture."""

    def __init__(self, folder: Path):
        self.clip = Clip(folder)

    def write(self, pictures: Sequence["Image"], noun: str) -> list[str]:
        """One caption for each picture."""
        texts = [f"{opening(noun)} {place}" for place in PLACES]
        with scratch_folder() as scratch:
            files = [Path(scratch) / f"{number}.png" for number in range(len(pictures))]
            for file, picture in zip(files, pictures, strict=True):
                picture.save(file)
            scores = self.clip.pictures(files) @ self.clip.texts(texts).T
        return [texts[int(row.argmax())] for row in scores]


class NetworkWriter:
    """A captioning network of transformers that continues a text, such as BLIP: it is given "a photo of a <noun>"."""

    def __init__(self, folder: Path):
        from transformers import AutoModelForImageTextToText, AutoProcessor

        self.processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
        self.model = AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True).eval()

    def write(self, pictures: Sequence["Image"], noun: str) -> list[str]:
        """One caption for each picture; the same pictures get the same captions (beam search, nothing drawn)."""
        import torch

        found = []
        for picture in pictures:
            inputs = self.processor(images=picture, text=opening(noun), return_tensors="pt")
            with torch.inference_mode():
                tokens = self.model.generate(**inputs, max_new_tokens=LONGEST, num_beams=3, do_sample=False)
            text = self.processor.batch_decode(tokens, skip_special_tokens=True)[0]
            found.append(" ".join(text.split()))
        return found


def opening(noun: str) -> str:
    """'a photo of a plush toy', 'a photo of an owl'."""
    return f"a photo of {'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def find_writer(model: str | None, revision: str | None, scorer: Path) -> tuple[CaptionWriter, str]:
    """The writer that is asked for, and its name for the record; None: the CLIP in the folder `scorer`.

    Raises:
        BaseNotFound: the network is not available.
    """
    if model is None:
        return PlaceWriter(scorer), "the CLIP that judges, by a list of places"
    folder = resolve_encoder("--model", model, revision, "a captioning network")
    try:
        return NetworkWriter(folder), model
    except (ValueError, OSError, KeyError) as error:
        reason = first_line(error)
        raise BaseNotFound(f"--model '{model}' is no captioning network that transformers knows: {reason}") from None
