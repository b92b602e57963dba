"""Weights of words in a prompt: "(a red scarf:1.3) on (mysks plush toy:0.9)"."""

import re
from collections.abc import Sequence

import torch

from pipeline.sampling.prompt_encoder import PromptEncoder
from pipeline.sampling.recipe import RecipeError

MOST = 2.0  # a weight
NUMBER = r"\d+(?:\.\d*)?|\.\d+"
WEIGHTED = re.compile(rf"\(([^():]+):\s*({NUMBER})\s*\)")
LIKE_WEIGHT = re.compile(r"[^():]*:\s*[-+]?[\d.,]*\d[.,]?(?:e[-+]?\d+)?\s*%?\s*\)", re.IGNORECASE)


def parts_of(prompt: str) -> list[tuple[str, float]]:
    """A prompt as (words, weight); words outside "(words:1.3)" have weight 1.

    Raises:
        RecipeError: something looks like a weight and is none, or is larger than `MOST`.
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


def _no_weight(found: str, prompt: str) -> RecipeError:
    return RecipeError(
        f"'{found}' in the prompt '{prompt}' looks like a weight and is none: with weights write words, without "
        f"brackets or colons in them, and a number from 0 to {MOST:g}, such as (a red scarf:1.3); other text must not "
        "end in a colon, a number and a bracket"
    )


def without_weights(prompt: str) -> str:
    """'(a red scarf:1.3) on it' becomes 'a red scarf on it'."""
    return WEIGHTED.sub(r"\1", prompt)


class WeightedPromptEncoder(PromptEncoder):
    """Encodes prompts in which words have weights.

    The states of the words are multiplied by their weights, and all states of the prompt by what keeps their norm. A
    prompt without weights has the states that `PromptEncoder` gives it.
    """

    def states(self, prompts: Sequence[str], windows: int) -> torch.Tensor:
        """States [prompts, windows * length, hidden] of prompts that take at most `windows` windows."""
        found = super().states(prompts, windows)
        for row, prompt in enumerate(prompts):
            weights = self._weights(prompt, windows)
            if (weights != 1).any():
                states = found[row].float()
                scaled = states * weights.to(states.device)[:, None]
                found[row] = (scaled * (states.norm() / scaled.norm())).to(found)  # start and end keep it above 0
        return found

    def _weights(self, prompt: str, windows: int) -> torch.Tensor:
        """The weight of each state, float32 [windows * length]; 1 for start, end and filling."""
        weights = [weight for words, weight in parts_of(prompt) for _ in PromptEncoder._ids(self, words)]
        weights += [1.0] * (windows * self.room - len(weights))
        rows = torch.tensor(weights).reshape(windows, self.room)
        edge = torch.ones(windows, 1)
        return torch.cat([edge, rows, edge], dim=1).flatten()

    def _ids(self, prompt: str) -> list[int]:
        return [token for words, _ in parts_of(prompt) for token in PromptEncoder._ids(self, words)]
