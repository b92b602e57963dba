"""The placeholder token: a word of its own in the tokenizer, and rows of its own in the embedding.

The new rows are a parameter beside the frozen table, so that no other row can move, whatever the optimizer does.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from pipeline.errors import UserError


class TokenError(UserError):
    """The placeholder token, or the words that it starts from, cannot be used with this base."""


class ExtendedEmbedding(nn.Module):
    """An embedding table with `rows` [new, hidden] after its own; `weight` is the whole table of both."""

    def __init__(self, table: nn.Embedding, rows: torch.Tensor):
        super().__init__()
        self.table = table.requires_grad_(False)
        self.rows = nn.Parameter(rows.clone().float())

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Embeddings [..., hidden] of token ids [...]."""
        known = self.table.num_embeddings
        old = self.table(ids.clamp(max=known - 1))
        new = F.embedding((ids - known).clamp(min=0), self.rows).to(old.dtype)
        return torch.where((ids >= known)[..., None], new, old)

    @property
    def weight(self) -> torch.Tensor:
        return torch.cat([self.table.weight, self.rows.to(self.table.weight.dtype)])


def add_token(tokenizer: Any, text_encoder: Any, token: str, start_from: str) -> ExtendedEmbedding:
    """Teach the tokenizer a word and give it a row that starts from the mean embedding of `start_from`.

    Args:
        tokenizer: a `CLIPTokenizer`; gains one token.
        text_encoder: a `CLIPTextModel`; its input embedding is replaced by the returned one.

    Raises:
        TokenError: the base knows the word already, or `start_from` holds no known word.
    """
    from tokenizers import AddedToken

    if len(word_ids(tokenizer, token)) == 1:
        raise TokenError(
            f"subject.token '{token}' is a word this base knows already; choose one that means nothing to it "
            "(letters that form no word, such as 'mysks'), or set train.token.learn to false to use it as it is"
        )
    words = word_ids(tokenizer, start_from)
    if not words:
        raise TokenError(f"train.token.start_from is '{start_from}', which holds no token of this base")
    table = text_encoder.get_input_embeddings()
    if len(tokenizer) != table.num_embeddings:
        raise TokenError(
            f"the base's tokenizer has {len(tokenizer)} tokens but its text encoder {table.num_embeddings} rows; "
            "they must be equal for a token to be added"
        )
    tokenizer.add_tokens([AddedToken(token, single_word=True, lstrip=False, rstrip=False, normalized=True)])
    rows = table.weight.detach()[words].float().mean(dim=0, keepdim=True)
    extended = ExtendedEmbedding(table, rows)
    text_encoder.set_input_embeddings(extended)
    return extended


def word_ids(tokenizer: Any, text: str) -> list[int]:
    """Token ids of `text` without start and end."""
    return list(tokenizer(text, add_special_tokens=False).input_ids)


def merge_table(text_encoder: Any) -> None:
    """Put one ordinary table in the place of an `ExtendedEmbedding`, for export."""
    extended = text_encoder.get_input_embeddings()
    if isinstance(extended, ExtendedEmbedding):
        weight = extended.weight.detach()
        table = nn.Embedding(len(weight), weight.shape[1], device=weight.device, dtype=weight.dtype)
        table.weight.data.copy_(weight)
        text_encoder.set_input_embeddings(table)
        text_encoder.config.vocab_size = weight.shape[0]
