"""The placeholder token: a word of its own in the tokenizer, and rows of its own in the embedding.

The new rows are a parameter beside the frozen table, so that no other row can move, whatever the optimizer does.
"""

import re
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


def token_names(token: str, vectors: int) -> list[str]:
    """The words behind a token of several vectors, as diffusers calls them: 'mysks', 'mysks_1', 'mysks_2'."""
    return [token, *(f"{token}_{number}" for number in range(1, vectors))]


def expand(text: str, token: str, vectors: int) -> str:
    """`text` with every vector in the place of the token (diffusers' pipelines do the same when they draw)."""
    words = " ".join(token_names(token, vectors))
    return text if vectors == 1 else re.sub(rf"(?<![\w-]){re.escape(token)}(?![\w-])", words, text)


def add_token(tokenizer: Any, text_encoder: Any, token: str, start_from: str, vectors: int = 1) -> ExtendedEmbedding:
    """Teach the tokenizer a word and give it rows that start from the embeddings of `start_from`.

    One row starts from their mean; of several, each starts from one of the words in turn.

    Args:
        tokenizer: a `CLIPTokenizer`; gains `vectors` tokens.
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
    tokenizer.add_tokens(
        [
            AddedToken(name, single_word=True, lstrip=False, rstrip=False, normalized=True)
            for name in token_names(token, vectors)
        ]
    )
    known = table.weight.detach()[words].float()
    rows = known.mean(dim=0, keepdim=True) if vectors == 1 else known[torch.arange(vectors) % len(known)]
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
