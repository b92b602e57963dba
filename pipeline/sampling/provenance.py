"""Pictures that tell what drew them: the record stands in a text chunk of the PNG."""

import io
import json
from collections.abc import Iterator
from typing import Any

from pipeline.lineage.header import HEADER_KEY
from pipeline.sampling.generation_request import Order
from pipeline.sampling.sampler import Sampler


def draw_order(sampler: Sampler, order: Order, origin: dict[str, Any], batch: int, scheduler: str) -> Iterator[bytes]:
    """One PNG for each request of the order; `origin` is the short record of the model, which each of them carries."""
    said = {"steps": order.steps, "guidance": order.guidance, "scheduler": scheduler}
    pictures = sampler.draw(order.requests, order.steps, order.guidance, order.size, batch)
    for request, picture in zip(order.requests, pictures, strict=True):
        record = {**origin, "prompt": request.prompt, "seed": request.seed, **said}
        yield as_png(picture, {**record, "negative": request.negative} if request.negative else record)


def as_png(picture: Any, record: dict[str, Any]) -> bytes:
    """The picture's bytes; what made it stands in a text chunk, where `dreamtrace trace` reads it."""
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    text.add_itxt(HEADER_KEY, json.dumps(record, sort_keys=True, ensure_ascii=False))
    target = io.BytesIO()
    picture.save(target, format="PNG", pnginfo=text)
    return target.getvalue()
