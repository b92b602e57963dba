"""The parts of a recipe that compose a picture: places with prompts and models, adapters, control and reference."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    TypeAdapter,
    field_validator,
    model_validator,
)

from pipeline.params import Number

PLACES: dict[str, tuple[float, float, float, float]] = {
    "left": (0.0, 0.0, 0.5, 1.0),
    "right": (0.5, 0.0, 1.0, 1.0),
    "top": (0.0, 0.0, 1.0, 0.5),
    "bottom": (0.0, 0.5, 1.0, 1.0),
}
Box = tuple[float, float, float, float]  # left, top, right, bottom, in shares of the side
Weight = Annotated[Number, Field(gt=0, le=1.5)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def box_of(place: str | Box) -> Box:
    """The box that a place means."""
    return PLACES[place] if isinstance(place, str) else place


NARROWEST = 1e-9  # share of the side from which there is something between two edges, and not a rounding


def layered(regions: Sequence[Box], places: Sequence[Box]) -> list[tuple[int | None, tuple[int, ...]]]:
    """The layers of a picture with regions, and with adapters that have places.

    Each is one region, or what no region covers (None, the first ones), with the numbers of the places that lie over
    it: where a place covers a part of a region, both parts are layers.
    """
    found: dict[tuple[int, ...], set[int | None]] = {}
    for (left, top, right, bottom), holding in cut([*regions, *places]):
        if min(right - left, bottom - top) >= NARROWEST:
            over = tuple(number - len(regions) for number in holding if number >= len(regions))
            found.setdefault(over, set()).update([one for one in holding if one < len(regions)] or [None])
    return [(one, over) for one in (None, *range(len(regions))) for over, there in found.items() if one in there]


def cut(boxes: Sequence[Box]) -> Iterator[tuple[Box, tuple[int, ...]]]:
    """The rectangles into which all edges of boxes cut the square, each with the numbers of the boxes over it."""
    across = sorted({0.0, 1.0, *(edge for box in boxes for edge in box[0::2])})
    down = sorted({0.0, 1.0, *(edge for box in boxes for edge in box[1::2])})
    for top, bottom in pairwise(down):
        for left, right in pairwise(across):
            yield (
                (left, top, right, bottom),
                tuple(
                    number
                    for number, box in enumerate(boxes)
                    if box[0] <= left and box[1] <= top and right <= box[2] and bottom <= box[3]
                ),
            )


def has_room(boxes: Sequence[Box], side: float) -> bool:
    """Whether a square of `side` finds room beside boxes: then also with its left and top edge at those of others."""
    lefts, tops = {0.0, *(box[2] for box in boxes)}, {0.0, *(box[3] for box in boxes)}
    return any(
        max(left, top) + side <= 1
        and all(
            min(left + side, box[2]) <= max(left, box[0]) or min(top + side, box[3]) <= max(top, box[1])
            for box in boxes
        )
        for left in lefts
        for top in tops
    )


_EDGE = TypeAdapter(Number)


def _place(value: Any) -> str | Box:
    wanted = f"must be {', '.join(PLACES)}, or [left, top, right, bottom] in shares of the side"
    if isinstance(value, str):
        if value not in PLACES:
            raise ValueError(wanted)
        return value
    try:
        left, top, right, bottom = (_EDGE.validate_python(edge) for edge in value)
    except (TypeError, ValueError):
        raise ValueError(wanted) from None
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise ValueError(f"{wanted}, from 0 to 1, left before right and top before bottom")
    return left, top, right, bottom


def _plain(place: str | Box) -> str | list[float]:
    return place if isinstance(place, str) else list(place)


Place = Annotated[str | Box, PlainValidator(_place), PlainSerializer(_plain)]


class Region(BaseModel):
    """A place with a prompt of its own, in which {prompt} stands for the picture's; and a model, if not the same one.

    `model` is a registered version or a model folder with the same base; `weight` is how far from the base (0) to it
    (1) the U-Net is. `digest` is its content digest: another content is refused.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    place: Place
    prompt: str = Field(min_length=1)
    model: str | None = Field(default=None, min_length=1)
    weight: Weight = 1.0
    digest: Digest | None = None

    @model_validator(mode="after")
    def _has_a_model_to_weigh(self) -> "Region":
        if self.model is None and (self.weight != 1 or self.digest is not None):
            raise ValueError("weight and digest belong to a model; name it, or leave them out")
        return self


class Adapter(BaseModel):
    """What another model of the same base learned, added with a weight: everywhere, or in one place."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(min_length=1)
    weight: Weight = 1.0
    place: Place | None = None
    digest: Digest | None = None


class Control(BaseModel):
    """A control picture, given with each drawing, that pictures follow; by a ControlNet or T2I-Adapter.

    `adapter` is 'base' (the one beside the embedded base), a hub id or a folder, `revision` the hub's. `scale` is how
    strongly it counts, from the share `start` of the steps to the share `end`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["silhouette", "edges"]
    adapter: str = Field(default="base", min_length=1)
    revision: str | None = None
    digest: Digest | None = None
    scale: Annotated[Number, Field(ge=0, le=2)] = 1.0
    start: Annotated[Number, Field(ge=0, le=1)] = 0.0
    end: Annotated[Number, Field(ge=0, le=1)] = 1.0

    @model_validator(mode="after")
    def _counts_for_some_time(self) -> "Control":
        if self.start >= self.end:
            raise ValueError("start must be before end")
        return self


class ReferenceSettings(BaseModel):
    """A reference picture, given with each drawing, that pictures take after; by an IP-Adapter.

    `adapter` is a hub id or a folder, `revision` the hub's; `weights` and `encoder` are the .safetensors file and the
    folder of the image encoder in it. `scale` is how strongly it counts.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    adapter: str = Field(default="h94/IP-Adapter", min_length=1)
    revision: str | None = None
    weights: str = "models/ip-adapter_sd15.safetensors"
    encoder: str = "models/image_encoder"
    digest: Digest | None = None
    scale: Annotated[Number, Field(ge=0, le=1.5)] = 0.6

    @field_validator("weights", "encoder")
    @classmethod
    def _lies_in_the_adapter(cls, path: str) -> str:
        found = PurePosixPath(path)
        if found.is_absolute() or ".." in found.parts or not found.parts:
            raise ValueError("must be a path in the adapter's repository or folder")
        return str(found)

    @field_validator("weights")
    @classmethod
    def _is_no_pickle(cls, path: str) -> str:
        if not path.endswith(".safetensors"):
            raise ValueError("must be a .safetensors file; others could run code")
        return path
