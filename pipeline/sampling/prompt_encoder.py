"""Prompts for the text encoder: the learned token in one spelling, and long prompts in windows.

A CLIP text encoder reads a fixed number of tokens. A longer prompt is cut into windows of that length, each with a
start and an end of its own, and their states stand one after the other, as other programs for Stable Diffusion do it.
"""

import re
from collections.abc import Sequence
from itertools import count, takewhile
from typing import Any

import torch


def token_words(learned: set[str]) -> dict[str, list[str]]:
    """The words of the vectors of each learned token: {'mysks': ['mysks', 'mysks_1']}."""
    found = {word: [word] for word in sorted(learned)}
    for token, words in found.items():
        words.extend(takewhile(learned.__contains__, (f"{token}_{number}" for number in count(1))))
    further = {word for words in found.values() for word in words[1:]}
    return {token: words for token, words in found.items() if token not in further}


class PromptEncoder:
    """Encodes prompts with the tokenizer and the text encoder of a diffusers pipeline."""

    def __init__(self, pipe: Any):
        self.pipe = pipe
        tokenizer = pipe.tokenizer
        self.room = int(tokenizer.model_max_length) - 2  # beside start and end
        special = set(tokenizer.all_special_tokens)
        learned = token_words({word for word in tokenizer.get_added_vocab() if word not in special})
        rows = (tokenizer.convert_tokens_to_ids(words) for words in learned.values())
        self.rows = {ids[0]: ids for ids in rows if 1 < len(ids) <= self.room}
        self.learned = {token.lower(): " ".join(words) for token, words in learned.items()}
        tokens = "|".join(map(re.escape, self.learned)) or r"(?!)"
        self.tokens = re.compile(rf"(?<!\w)(?:{tokens})(?!\w)", re.IGNORECASE)

    def expanded(self, prompt: str) -> str:
        """The prompt with the words of all vectors in the place of each learned token, in whatever case it is written:
        'a MYSKS' becomes 'a mysks mysks_1 mysks_2'. A token is a word, as it is to the tokenizer, and no part of one.
        """
        return self.tokens.sub(lambda found: self.learned[found[0].lower()], prompt)

    def windows(self, *prompts: str) -> int:
        """How many windows the longest of these prompts takes; 1 for those that the text encoder reads whole."""
        return max(len(self._windows(prompt)) for prompt in prompts)

    @torch.no_grad()
    def states(self, prompts: Sequence[str], windows: int) -> torch.Tensor:
        """States [prompts, windows * length, hidden] of prompts that take at most `windows` windows."""
        tokenizer, encoder = self.pipe.tokenizer, self.pipe.text_encoder
        start, end, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
        found = []
        cut = [self._windows(prompt) for prompt in prompts]
        for number in range(windows):
            rows = []
            for parts in cut:
                part = [token for token, _ in parts[number]] if number < len(parts) else []
                rows.append([start, *part, end, *[pad] * (self.room - len(part))])
            found.append(encoder(torch.tensor(rows, device=self.pipe.device))[0])
        return torch.cat(found, dim=1)

    def _windows(self, prompt: str) -> list[list[tuple[int, float]]]:
        """The tokens of each window with their weights; the vectors of one learned token share a window."""
        found: list[list[tuple[int, float]]] = [[]]
        tokens, at = self._tokens(prompt), 0
        while at < len(tokens):
            rows = self.rows.get(tokens[at][0], [])
            whole = bool(rows) and [token for token, _ in tokens[at : at + len(rows)]] == rows
            part = tokens[at : at + (len(rows) if whole else 1)]
            if len(found[-1]) + len(part) > self.room:
                found.append([])
            found[-1] += part
            at += len(part)
        return found

    def _tokens(self, prompt: str) -> list[tuple[int, float]]:
        """The tokens of a prompt with their weights."""
        return [(token, 1.0) for token in self._ids(prompt)]

    def _ids(self, prompt: str) -> list[int]:
        text = self.expanded(prompt)
        return list(self.pipe.tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids)
