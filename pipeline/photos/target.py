"""What photos are prepared for: the size of the base's pictures, and how it reads captions."""

from dataclasses import dataclass

from pipeline.base.description import describe_base
from pipeline.base.resolve import BaseNotFound
from pipeline.params import Params
from pipeline.photos.caption_length import TextEncoder


@dataclass(frozen=True)
class Target:
    """Side of a square picture in pixels, what sides must be multiples of, and how captions are read.

    `encoder` is None where a base that is not needed for the sizes is not available; `unknown` says why.
    """

    size: int
    multiple: int
    encoder: TextEncoder | None
    unknown: str = ""


def target_of(params: Params) -> Target:
    """What the photos of a run are prepared for.

    Raises:
        BaseNotFound: prepare.size is null (or crop is bucket) and the base, whose size it is, is not available.
    """
    try:
        base = describe_base(params.base)
        tokenizer = base.tokenizer()
    except BaseNotFound as error:
        if params.prepare.size is None or params.prepare.crop == "bucket":
            raise
        return Target(params.prepare.size, 8, None, str(error))
    token, learned = params.subject.token, params.train.token
    vectors = learned.vectors if learned.learn else len(tokenizer(token, add_special_tokens=False).input_ids)
    encoder = TextEncoder(tokenizer, base.length, token, vectors)
    return Target(params.prepare.size or base.size, base.multiple, encoder)
