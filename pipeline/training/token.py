"""The placeholder token: a new word of the tokenizer, with new rows in the text encoder's embedding.

The new rows are a parameter separate from the frozen table, so that the optimizer can change no other row.
"""

import re
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from pipeline.base.learned import add_words
from pipeline.errors import UserError


class TokenError(UserError):
    """The placeholder token, or the words of `start_from`, cannot be used with this base."""


class ExtendedEmbedding(nn.Module):
    """An embedding table extended by the trainable `rows` [new, hidden]; `weight` is both, [old + new, hidden]."""

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
    """The tokenizer's words for a token of several vectors, as diffusers names them: 'mysks', 'mysks_1', 'mysks_2'."""
    return [token, *(f"{token}_{number}" for number in range(1, vectors))]


def expand_token(text: str, token: str, vectors: int) -> str:
    """`text` with the token replaced by the words of all its vectors, as diffusers' pipelines do when they draw."""
    words = " ".join(token_names(token, vectors))
    return text if vectors == 1 else re.sub(rf"(?<![\w-]){re.escape(token)}(?![\w-])", words, text)


def add_token(tokenizer: Any, text_encoder: Any, token: str, start_from: str, vectors: int = 1) -> ExtendedEmbedding:
    """Add the token to the tokenizer and the embedding, initialised from the embeddings of the words of `start_from`.

    A single row starts from their mean; several rows start from one word each, in turn. A word that the base reads in
    pieces counts as the mean of these.

    Args:
        tokenizer: a `CLIPTokenizer`; gains `vectors` tokens.
        text_encoder: a `CLIPTextModel`; its input embedding is replaced by the returned module.

    Raises:
        TokenError: the token is a word of the base already, or `start_from` has no known word.
    """
    table = text_encoder.get_input_embeddings()
    if problem := token_problem(tokenizer, table.num_embeddings, token, start_from):
        raise TokenError(problem)
    pieces = [ids for word in start_from.split() if (ids := token_ids(tokenizer, word))]
    add_words(tokenizer, tuple(token_names(token, vectors)))
    known = torch.stack([table.weight.detach()[ids].float().mean(dim=0) for ids in pieces])
    rows = known.mean(dim=0, keepdim=True) if vectors == 1 else known[torch.arange(vectors) % len(known)]
    extended = ExtendedEmbedding(table, rows)
    text_encoder.set_input_embeddings(extended)
    return extended


def token_problem(tokenizer: Any, rows: int, token: str, start_from: str) -> str | None:
    """Why a token cannot be learned on a base whose text encoder has `rows` rows of words; None where it can."""
    if len(token_ids(tokenizer, token)) == 1:
        return (
            f"subject.token '{token}' is already a word of this base; choose letters that form no word, such as "
            "'mysks', or set train.token.learn to false to use the word with the meaning it has"
        )
    if not token_ids(tokenizer, start_from):
        return (
            f"train.token.start_from is '{start_from}', which has no token of this base; name words that the base knows"
        )
    if len(tokenizer) != rows:
        return (
            f"the base's tokenizer has {len(tokenizer)} tokens, but its text encoder's embedding has {rows} rows; to "
            "add a token they must be equal: choose another base, or set train.token.learn to false"
        )
    return None


def token_ids(tokenizer: Any, text: str) -> list[int]:
    """Token ids of `text`, without the start and end tokens."""
    return list(tokenizer(text, add_special_tokens=False).input_ids)


def restore_embedding(text_encoder: Any) -> None:
    """Put the base's own embedding table back in the place of an `ExtendedEmbedding`, for export."""
    extended = text_encoder.get_input_embeddings()
    if isinstance(extended, ExtendedEmbedding):
        text_encoder.set_input_embeddings(extended.table)
