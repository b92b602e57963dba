"""A request to a served model, checked before anything is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import UserError, as_found, counted
from pipeline.params import MOST_CHARACTERS, MOST_DRAWING_STEPS
from pipeline.sampling.sampler import Request

MOST_PICTURES = 64  # in one call
LAST_SEED = 2**32 - 1
MOST_SHOWN = 80  # characters of a wrong value in a message
# Those of params.yaml, so that a model can be drawn as it was judged.
LIMITS: dict[str, tuple[float, float]] = {
    "steps": (1, MOST_DRAWING_STEPS),
    "guidance": (1, 50),
    "size": (32, 2048),
    "count": (1, 16),
}


class GenerationRequestError(UserError):
    """The request cannot be answered; the message says which value was found and which are possible."""


@dataclass(frozen=True)
class GenerationRequest:
    """Pictures to draw: one request each, in the order of the rows, `count` seeds after another for each row."""

    requests: list[Request]
    steps: int
    guidance: float
    size: int


def read_generation_request(
    rows: Sequence[tuple[Any, Any]], asked: dict[str, Any], defaults: dict[str, Any], drawings: int = 1
) -> GenerationRequest:
    """The request of `rows` (prompt, seed), with `asked` parameters over the model's own.

    Parameters: negative (text), steps, guidance, size (pixels, a multiple of 8), count (pictures a prompt, whose seeds
    count on from the row's).

    Args:
        drawings: how many pictures one of them costs (`Recipe.drawings`); the limit of a call counts these.

    Raises:
        GenerationRequestError: a prompt or a value that is impossible, or more pictures than one call may ask for.
    """
    values = {"negative": "", "count": 1, **defaults, **asked}
    found = {name: _number(name, values[name], *limits) for name, limits in LIMITS.items()}
    if found["size"] % 8:
        raise GenerationRequestError(f"size must be a multiple of 8, found {values['size']}")
    negative = _text("negative", values["negative"], empty=True)
    count = int(found["count"])
    if not rows:
        raise GenerationRequestError("there is no prompt")
    if len(rows) * count * drawings > MOST_PICTURES:
        costs = f", each of which costs {drawings} by the recipe (best_of, regions, placed adapters),"
        each = costs if drawings > 1 else ""
        raise GenerationRequestError(
            f"{counted(len(rows), 'prompt')} of {counted(count, 'picture')}{each} are more than {MOST_PICTURES} "
            "in one call"
        )
    requests = []
    for prompt, seed in rows:
        text, first = read_row(prompt, seed, count)
        requests += [Request(text, first + number, negative) for number in range(count)]
    return GenerationRequest(requests, int(found["steps"]), found["guidance"], int(found["size"]))


def read_row(prompt: Any, seed: Any, count: int = 1) -> tuple[str, int]:
    """The prompt of a row and its first seed, from which `count` are counted on.

    Raises:
        GenerationRequestError: one of them is impossible.
    """
    return _text("prompt", prompt), int(_number("seed", seed, 0, LAST_SEED - count + 1, whole=True))


def _number(name: str, value: Any, least: float, most: float, whole: bool | None = None) -> float:
    whole = name != "guidance" if whole is None else whole
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):  # the last: a whole number beyond any float
        found = float("nan")
    if not least <= found <= most or (whole and found != int(found)):
        kind = "a whole number" if whole else "a number"
        raise GenerationRequestError(
            f"{name} must be {kind} from {least} to {most}, found {as_found(value, MOST_SHOWN)}"
        )
    return found


def _text(name: str, value: Any, empty: bool = False) -> str:
    if not isinstance(value, str) or not (empty or value.strip()):
        raise GenerationRequestError(f"{name} must be a text, found {as_found(value, MOST_SHOWN)}")
    if len(value) > MOST_CHARACTERS:
        raise GenerationRequestError(f"{name} has {len(value)} characters; at most {MOST_CHARACTERS} are possible")
    return value
