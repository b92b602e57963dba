"""Prompts with weights of words for the text encoder."""

from collections.abc import Sequence

import torch

from pipeline.sampling.prompt_encoder import PromptEncoder
from pipeline.sampling.prompt_weights import parts_of


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
        found = torch.ones(windows, self.room + 2)
        for number, part in enumerate(self._windows(prompt)):
            found[number, 1 : 1 + len(part)] = torch.tensor([weight for _, weight in part])
        return found.flatten()

    def _tokens(self, prompt: str) -> list[tuple[int, float]]:
        return [(token, weight) for words, weight in parts_of(prompt) for token in self._ids(words)]
