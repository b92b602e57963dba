"""Whether a word can be a placeholder token: what the tokenizer makes of it."""

from dataclasses import dataclass
from typing import Any

from pipeline.training.token import word_ids

TAKEN = {"sks": "the name of a rifle, which pictures of it will show"}


@dataclass(frozen=True)
class WordReport:
    """`pieces` are what the tokenizer splits the word into; `problem` says why it cannot or should not be used."""

    word: str
    pieces: list[str]
    problem: str | None

    @property
    def sentence(self) -> str:
        """The finding, for a person."""
        count = len(self.pieces)
        pieces = f"{count} token{'s' * (count != 1)} ({' '.join(self.pieces)})"
        return f"'{self.word}' is {pieces} to this base: " + (
            self.problem or "no word of its own, so it can be learned as one"
        )


def report_word(tokenizer: Any, word: str) -> WordReport:
    """What the base's tokenizer knows of `word`; pieces that are whole words already mean something to it."""
    ids = word_ids(tokenizer, word)
    pieces = [str(piece).removesuffix("</w>") for piece in tokenizer.convert_ids_to_tokens(ids)]
    problem = None
    if word.lower() in TAKEN:
        problem = f"it is {TAKEN[word.lower()]}; choose another"
    elif len(ids) == 1:
        problem = "a word it knows already; choose letters that form no word, or set train.token.learn to false"
    else:
        known = [piece for piece in pieces if len(piece) >= 3 and len(word_ids(tokenizer, piece)) == 1]
        if known:
            problem = f"it is made of words that mean something ({', '.join(known)}), and pictures may show that"
    return WordReport(word, pieces, problem)
