"""Captions as the U-Net reads them."""

from collections.abc import Callable
from typing import Any

import torch


class Captions:
    """Captions turned into hidden states; those that training cannot change are computed once."""

    def __init__(
        self,
        tokenizer: Any,
        text_encoder: Any,
        device: torch.device,
        changes: Callable[[list[int]], bool],
        expand: Callable[[str], str] = str,
    ):
        self.tokenizer, self.text_encoder, self.device = tokenizer, text_encoder, device
        self.changes, self.expand = changes, expand
        self.kept: dict[str, torch.Tensor] = {}

    def states(self, captions: list[str]) -> torch.Tensor:
        """Hidden states [batch, length, hidden], with gradients where a learned part has a share in them."""
        ids = {caption: self._ids(caption) for caption in dict.fromkeys(captions)}
        live = [caption for caption in ids if self.changes(ids[caption])]
        found = dict(self.kept)
        for caption in ids:
            if caption not in live and caption not in self.kept:
                with torch.no_grad():
                    self.kept[caption] = found[caption] = self._encode([ids[caption]])[0]
        if live:
            found |= dict(zip(live, self._encode([ids[caption] for caption in live]), strict=True))
        return torch.stack([found[caption] for caption in captions])

    def _ids(self, caption: str) -> list[int]:
        length = self.tokenizer.model_max_length
        caption = self.expand(caption)
        return list(self.tokenizer(caption, padding="max_length", max_length=length, truncation=True).input_ids)

    def _encode(self, ids: list[list[int]]) -> torch.Tensor:
        return self.text_encoder(torch.tensor(ids, device=self.device)).last_hidden_state
