"""Pictures that outlive a kill: each is written once drawn, named by what it is, and never drawn twice."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from pipeline.files import digest_value, write_bytes
from pipeline.params import Draw
from pipeline.sampling.sampler import Request, Sampler


def draw_missing(
    load: Callable[[], Sampler], requests: Sequence[Request], draw: Draw, size: int, folder: Path, title: str
) -> list[Path]:
    """The file of each request's picture in `folder`, which belongs to one model; what is missing is drawn.

    `load` is called only when something is missing. Files are named by a digest of the request and everything of
    `draw` that decides the picture.
    """
    files = [folder / f"{_name(request, draw, size)}.png" for request in requests]
    missing = {file: request for file, request in zip(files, requests, strict=True) if not file.is_file()}
    if missing:
        pictures = load().draw(list(missing.values()), draw.steps, draw.guidance, size, draw.batch)
        for file, picture in tqdm(
            zip(missing, pictures, strict=True), total=len(missing), desc=title, unit="image", mininterval=1
        ):
            target = io.BytesIO()
            picture.save(target, format="PNG")
            write_bytes(file, target.getvalue())
    return files


def _name(request: Request, draw: Draw, size: int) -> str:
    asked = [request.prompt, request.seed, request.negative]
    return digest_value([*asked, draw.steps, draw.guidance, draw.scheduler, draw.precision, size])[:32]
