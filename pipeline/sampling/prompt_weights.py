"""Weights in the text of a prompt, "(a red scarf:1.3) on (mysks plush toy:0.9)": read without a model."""

import re

from pipeline.errors import UserError

MOST = 2.0  # a weight
NUMBER = r"\d+(?:\.\d*)?|\.\d+"
WEIGHTED = re.compile(rf"\(([^():]+):\s*({NUMBER})\s*\)")
LIKE_WEIGHT = re.compile(r"[^():]*:\s*[-+]?[\d.,]*\d[.,]?(?:e[-+]?\d+)?\s*%?\s*\)", re.IGNORECASE)


class WeightError(UserError):
    """Something in a prompt looks like a weight and is none."""


def parts_of(prompt: str) -> list[tuple[str, float]]:
    """A prompt as (words, weight); words outside "(words:1.3)" have weight 1.

    Raises:
        WeightError: something looks like a weight and is none, or is larger than `MOST`.
    """
    found, at = [], 0
    for match in WEIGHTED.finditer(prompt):
        if float(match[2]) > MOST or not re.search(r"[^\W\d]", match[1]):
            raise _no_weight(match[0], prompt)
        found.append((prompt[at : match.start()], 1.0))
        found.append((match[1], float(match[2])))
        at = match.end()
    found.append((prompt[at:], 1.0))
    for words, _ in found:
        if like := LIKE_WEIGHT.search(words):
            raise _no_weight(like[0].strip(), prompt)
    return [(words, weight) for words, weight in found if words.strip()]


def _no_weight(found: str, prompt: str) -> WeightError:
    return WeightError(
        f"'{found}' in the prompt '{prompt}' looks like a weight and is none: with weights write words, without "
        f"brackets or colons in them, and a number from 0 to {MOST:g}, such as (a red scarf:1.3); other text must not "
        "end in a colon, a number and a bracket"
    )


def without_weights(prompt: str) -> str:
    """'(a red scarf:1.3) on it' becomes 'a red scarf on it'."""
    return WEIGHTED.sub(r"\1", prompt)
