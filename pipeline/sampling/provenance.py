"""Pictures that carry what drew them, as Content Credentials."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pipeline.sampling.credentials import signed_picture
from pipeline.sampling.generation_request import GenerationRequest
from pipeline.sampling.sampler import Sampler
from pipeline.sampling.signing_authority import SigningIdentity

if TYPE_CHECKING:
    from PIL.Image import Image


def draw_with_records(
    sampler: Sampler, generation: GenerationRequest, origin: dict[str, Any], batch: int, scheduler: str
) -> Iterator[tuple["Image", dict[str, Any]]]:
    """Each picture of the request with its record: `origin` (the model's short record), prompt, seed and settings."""
    settings = {
        "steps": generation.steps,
        "guidance": generation.guidance,
        "scheduler": scheduler,
        "size": generation.size,
        "precision": sampler.precision,
    }
    pictures = sampler.draw(generation.requests, generation.steps, generation.guidance, generation.size, batch)
    for request, picture in zip(generation.requests, pictures, strict=True):
        record = {**origin, "prompt": request.prompt, "seed": request.seed, **settings, **sampler.record_of(request)}
        yield picture, {**record, "negative": request.negative} if request.negative else record


def draw_signed(
    sampler: Sampler,
    generation: GenerationRequest,
    origin: dict[str, Any],
    batch: int,
    scheduler: str,
    identity: SigningIdentity,
    kind: str = "png",
) -> Iterator[bytes]:
    """One signed file for each picture of the request; `kind` is 'png', 'jpeg' or 'webp'."""
    for picture, record in draw_with_records(sampler, generation, origin, batch, scheduler):
        yield signed_picture(picture, record, kind, identity)
