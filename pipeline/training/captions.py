"""Captions as the U-Net reads them: hidden states of the text encoder."""

from collections.abc import Callable
from threading import Lock
from typing import Any

import torch

from pipeline.base.components import Parts


def limit_tokenizer(parts: Parts) -> None:
    """Cap the tokenizer's `model_max_length` at the text encoder's positions.

    Converted bases often lack a length in `tokenizer_config.json`, which transformers reads as 10^30.
    """
    positions = int(parts.text_encoder.config.max_position_embeddings)
    parts.tokenizer.model_max_length = min(int(parts.tokenizer.model_max_length), positions)


class CaptionEncoder:
    """Encodes captions; the hidden states of captions that training cannot change are cached.

    Args:
        tokenizer: a `CLIPTokenizer` with a finite `model_max_length`.
        text_encoder: a `CLIPTextModel` on `device`.
        is_trained: whether a caption with these token ids depends on a trainable parameter.
        expand: applied to each caption before it is tokenized.
    """

    def __init__(
        self,
        tokenizer: Any,
        text_encoder: Any,
        device: torch.device,
        is_trained: Callable[[list[int]], bool],
        expand: Callable[[str], str] = str,
    ):
        self.tokenizer, self.text_encoder, self.device = tokenizer, text_encoder, device
        self.is_trained, self.expand = is_trained, expand
        self.cache: dict[str, torch.Tensor] = {}
        self.one_thread = Lock()

    def encode(self, captions: list[str]) -> torch.Tensor:
        """Hidden states [batch, length, hidden], with gradients for captions that depend on a trainable parameter."""
        ids = {caption: self._ids(caption) for caption in dict.fromkeys(captions)}
        trained = [caption for caption in ids if self.is_trained(ids[caption])]
        states = {caption: self._cached(caption, numbers) for caption, numbers in ids.items() if caption not in trained}
        if trained:
            states |= dict(zip(trained, self._forward([ids[caption] for caption in trained]), strict=True))
        return torch.stack([states[caption] for caption in captions])

    def snapshot(self, captions: list[str]) -> dict[str, torch.Tensor]:
        """Hidden states [length, hidden] of captions with the weights as they are now, without gradients."""
        return {caption: self._without_gradients(self._ids(caption)) for caption in dict.fromkeys(captions)}

    def _ids(self, caption: str) -> list[int]:
        length = self.tokenizer.model_max_length
        caption = self.expand(caption)
        with self.one_thread:  # a fast tokenizer refuses a second one
            return list(self.tokenizer(caption, padding="max_length", max_length=length, truncation=True).input_ids)

    def _cached(self, caption: str, ids: list[int]) -> torch.Tensor:
        with self.one_thread:
            if caption not in self.cache:
                self.cache[caption] = self._without_gradients(ids)
            return self.cache[caption]

    @torch.no_grad()
    def _without_gradients(self, ids: list[int]) -> torch.Tensor:
        return self._forward([ids])[0]

    def _forward(self, ids: list[list[int]]) -> torch.Tensor:
        return self.text_encoder(torch.tensor(ids, device=self.device)).last_hidden_state
