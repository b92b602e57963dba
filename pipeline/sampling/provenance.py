"""Pictures that carry what drew them, as Content Credentials."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pipeline.sampling.credentials import signed_picture
from pipeline.sampling.generation_request import Order
from pipeline.sampling.sampler import Sampler
from pipeline.sampling.signing_authority import SigningIdentity

if TYPE_CHECKING:
    from PIL.Image import Image


def draw_order(
    sampler: Sampler, order: Order, origin: dict[str, Any], batch: int, scheduler: str
) -> Iterator[tuple["Image", dict[str, Any]]]:
    """Each picture of the order with its record: `origin` (the model's short record), prompt, seed and settings."""
    settings = {"steps": order.steps, "guidance": order.guidance, "scheduler": scheduler}
    pictures = sampler.draw(order.requests, order.steps, order.guidance, order.size, batch)
    for request, picture in zip(order.requests, pictures, strict=True):
        record = {**origin, "prompt": request.prompt, "seed": request.seed, **settings}
        yield picture, {**record, "negative": request.negative} if request.negative else record


def draw_signed(
    sampler: Sampler,
    order: Order,
    origin: dict[str, Any],
    batch: int,
    scheduler: str,
    identity: SigningIdentity,
    kind: str = "png",
) -> Iterator[bytes]:
    """One signed file for each request of the order; `kind` is 'png', 'jpeg' or 'webp'."""
    for picture, record in draw_order(sampler, order, origin, batch, scheduler):
        yield signed_picture(picture, record, kind, identity)
