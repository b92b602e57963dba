import pytest

from pipeline.training.token_report import report_token
from tests.tiny import make_tokenizer


@pytest.mark.parametrize(
    ("word", "pieces", "problem"),
    [
        ("mysks", ["m", "y", "s", "k", "s"], None),
        ("toy", ["toy"], "a word that it already knows"),
        ("plushtoy", ["plush", "toy"], "words with a meaning (toy)"),
        ("SKS", ["s", "k", "s"], "rifle"),
        ("", [], "a token must have 2 to 64 letters"),
        ("m", ["m"], "a token must have 2 to 64 letters"),
        ("my.sks", ["m", "y", ".", "s", "k", "s"], "a token must have 2 to 64 letters"),
        ("my sks", ["m", "y", "s", "k", "s"], "a token must have 2 to 64 letters"),
    ],
)
def test_what_a_word_is_to_the_base(word: str, pieces: list[str], problem: str | None) -> None:
    report = report_token(make_tokenizer(), word)
    assert "." in word or "".join(report.pieces) == "".join(pieces)
    assert (report.problem is None) == (problem is None)
    assert problem is None or problem in report.sentence
    assert word in report.sentence
