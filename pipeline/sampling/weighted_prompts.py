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
        weights = [weight for words, weight in parts_of(prompt) for _ in PromptEncoder._ids(self, words)]
        weights += [1.0] * (windows * self.room - len(weights))
        rows = torch.tensor(weights).reshape(windows, self.room)
        edge = torch.ones(windows, 1)
        return torch.cat([edge, rows, edge], dim=1).flatten()

    def _ids(self, prompt: str) -> list[int]:
        return [token for words, _ in parts_of(prompt) for token in PromptEncoder._ids(self, words)]
