"""Several drawings of one prompt, of which the one that follows the prompt best is kept."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from PIL.Image import Image

SEEDS = 2**32


class PromptJudge(Protocol):
    """Says how well pictures follow prompts; `digest` names its weights."""

    digest: str

    def follows(self, pictures: Sequence["Image"], prompts: Sequence[str]) -> list[float]:
        """A figure for each picture, more where it follows the prompts better: the mean over them, each read whole."""


def seeds_of(seed: int, count: int) -> list[int]:
    """The seeds of `count` drawings: the request's own, then others that depend on it and their number alone."""
    further = [hashlib.sha256(f"{seed} {number}".encode()).digest() for number in range(1, count)]
    return [seed, *(int.from_bytes(digest[:8], "big") % SEEDS for digest in further)]
