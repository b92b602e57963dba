"""Captions longer than the text encoder reads: which words of them are lost."""

from dataclasses import dataclass
from typing import Any

from pipeline.params import word_pattern

START_AND_END = 2  # tokens that frame every caption


@dataclass(frozen=True)
class TextEncoder:
    """How a base reads captions: its `CLIPTokenizer`, the tokens it takes (start and end among them), and how many of
    them the subject's token becomes (its vectors where it is learned, else what the tokenizer makes of it).
    """

    tokenizer: Any
    length: int
    token: str
    vectors: int

    def kept_and_lost(self, caption: str) -> tuple[str, str]:
        """The words that are read, and those beyond the end; a word that is cut in the middle is lost."""
        words = caption.split()
        pattern = word_pattern(self.token)
        room = self.length - START_AND_END
        for index, word in enumerate(words):
            parts = pattern.split(word)
            room -= (len(parts) - 1) * self.vectors + sum(self.count(part) for part in parts if part)
            if room < 0:
                return " ".join(words[:index]), " ".join(words[index:])
        return caption, ""

    def count(self, text: str) -> int:
        """Into how many tokens the base splits a text."""
        return len(self.tokenizer(text, add_special_tokens=False).input_ids)


def too_long(name: str, caption: str, encoder: TextEncoder) -> tuple[str | None, str | None]:
    """A problem where the token lies beyond the end, a note where other words do; each a sentence, or None."""
    kept, lost = encoder.kept_and_lost(caption)
    if not lost:
        return None, None
    if not word_pattern(encoder.token).search(kept):
        return (
            f"{name}: its caption shows the token '{encoder.token}' only after the {encoder.length} tokens that the "
            f'base reads: "{lost}" is lost; move the token to the front, or shorten the caption',
            None,
        )
    return None, (
        f"{name}: its caption is longer than the {encoder.length} tokens that the base reads; these words are lost: "
        f'"{lost}"'
    )
