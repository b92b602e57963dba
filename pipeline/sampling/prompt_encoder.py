"""Prompts for the text encoder: the learned token in one spelling, and long prompts in windows.

A CLIP text encoder reads a fixed number of tokens. A longer prompt is cut into windows of that length, each with a
start and an end of its own, and their states stand one after the other, as other programs for Stable Diffusion do it.
"""

import re
from collections.abc import Sequence
from typing import Any

import torch


class PromptEncoder:
    """Encodes prompts with the tokenizer and the text encoder of a diffusers pipeline."""

    def __init__(self, pipe: Any):
        self.pipe = pipe
        tokenizer = pipe.tokenizer
        self.room = int(tokenizer.model_max_length) - 2  # beside start and end
        special = set(tokenizer.all_special_tokens)
        learned = [word for word in tokenizer.get_added_vocab() if word not in special]
        first = {re.sub(r"_\d+$", "", word) for word in learned}
        self.spellings = [
            (re.compile(rf"(?<![\w-]){re.escape(word)}(?![\w-])", re.IGNORECASE), word) for word in sorted(first)
        ]

    def spelled(self, prompt: str) -> str:
        """The prompt with learned tokens as the tokenizer knows them: of a token in capitals, only the first of several
        vectors would be found.
        """
        for pattern, word in self.spellings:
            prompt = pattern.sub(word, prompt)
        return prompt

    def windows(self, *prompts: str) -> int:
        """How many windows the longest of these prompts takes; 1 for those that the text encoder reads whole."""
        longest = max(len(self._ids(prompt)) for prompt in prompts)
        return max(1, -(-longest // self.room))

    @torch.no_grad()
    def states(self, prompts: Sequence[str], windows: int) -> torch.Tensor:
        """States [prompts, windows * length, hidden] of prompts that take at most `windows` windows."""
        tokenizer, encoder = self.pipe.tokenizer, self.pipe.text_encoder
        start, end, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
        found = []
        for number in range(windows):
            rows = []
            for prompt in prompts:
                part = self._ids(prompt)[number * self.room : (number + 1) * self.room]
                rows.append([start, *part, end, *[pad] * (self.room - len(part))])
            found.append(encoder(torch.tensor(rows, device=self.pipe.device))[0])
        return torch.cat(found, dim=1)

    def _ids(self, prompt: str) -> list[int]:
        text = self.pipe.maybe_convert_prompt(prompt, self.pipe.tokenizer)  # a token of several vectors
        return list(self.pipe.tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids)
