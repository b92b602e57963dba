"""Whether a word is suitable as a placeholder token, judged by how the tokenizer splits it."""

import re
from dataclasses import dataclass
from typing import Any

from pipeline.errors import counted
from pipeline.params import PATTERNS, WORD
from pipeline.training.token import token_ids

KNOWN_MEANINGS = {"sks": "the name of a rifle, which the pictures may show"}


@dataclass(frozen=True)
class TokenReport:
    """`pieces` are the tokens that the word is split into; `problem` says why it cannot or should not be used."""

    word: str
    pieces: list[str]
    problem: str | None

    @property
    def sentence(self) -> str:
        """The report as one sentence."""
        count = len(self.pieces)
        pieces = f"{counted(count, 'token')} ({' '.join(self.pieces)})"
        return f"'{self.word}' is {pieces} to this base: " + (
            self.problem or "not a word of its own, so it can be learned as the subject's token"
        )


def report_token(tokenizer: Any, word: str) -> TokenReport:
    """Report on `word`; pieces that are words of the base already mean something to it."""
    ids = token_ids(tokenizer, word)
    pieces = [str(piece).removesuffix("</w>") for piece in tokenizer.convert_ids_to_tokens(ids)]
    problem = None
    if not re.search(WORD, word):
        problem = f"a token {PATTERNS[WORD]}"
    elif word.lower() in KNOWN_MEANINGS:
        problem = f"it is {KNOWN_MEANINGS[word.lower()]}; choose another"
    elif len(ids) == 1:
        problem = "a word that it already knows; choose letters that form no word, or set train.token.learn to false"
    else:
        known = [piece for piece in pieces if len(piece) >= 3 and len(token_ids(tokenizer, piece)) == 1]
        if known:
            problem = f"it contains words with a meaning ({', '.join(known)}), which the pictures may show"
    return TokenReport(word, pieces, problem)
