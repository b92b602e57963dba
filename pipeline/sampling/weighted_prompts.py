"""Weights of words in a prompt: "(a red scarf:1.3) on (mysks plush toy:0.9)"."""

import re
from collections.abc import Sequence

import torch

from pipeline.sampling.prompt_encoder import PromptEncoder

WEIGHTED = re.compile(r"\(([^():]+):(\d+(?:\.\d+)?)\)")


def parts_of(prompt: str) -> list[tuple[str, float]]:
    """A prompt as (words, weight); words outside "(words:1.3)" have weight 1."""
    found, at = [], 0
    for match in WEIGHTED.finditer(prompt):
        found.append((prompt[at : match.start()], 1.0))
        found.append((match[1], float(match[2])))
        at = match.end()
    found.append((prompt[at:], 1.0))
    return [(words, weight) for words, weight in found if words.strip()]


def without_weights(prompt: str) -> str:
    """'(a red scarf:1.3) on it' becomes 'a red scarf on it'."""
    return WEIGHTED.sub(r"\1", prompt)


class WeightedPromptEncoder(PromptEncoder):
    """Encodes prompts in which words have weights.

    The states of the words are multiplied by their weights, and each prompt keeps the mean of its states, as other
    programs for Stable Diffusion do it. A prompt without weights has the states that `PromptEncoder` gives it.
    """

    def states(self, prompts: Sequence[str], windows: int) -> torch.Tensor:
        """States [prompts, windows * length, hidden] of prompts that take at most `windows` windows."""
        found = super().states(prompts, windows)
        for row, prompt in enumerate(prompts):
            weights = self._weights(prompt, windows)
            if (weights != 1).any():
                scaled = found[row] * weights.to(found)[:, None]
                found[row] = scaled * (found[row].float().mean() / scaled.float().mean()).to(found)
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
