"""The twin of a prompt: its words with the class noun for the subject, and one determiner before it."""

import pytest

from pipeline.evaluation.twins import name_pattern, twin_of, with_article
from pipeline.params import Subject


def twin(text: str, noun: str = "plush toy") -> str:
    subject = Subject(name="mysks", token="mysks", class_noun=noun)
    return twin_of(text, name_pattern(subject), noun)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a photo of mysks plush toy in a garden", "a photo of a plush toy in a garden"),
        ("a photo of a mysks plush toy in a garden", "a photo of a plush toy in a garden"),
        ("a photo of a red mysks, in the rain", "a photo of a red plush toy, in the rain"),
        ("a large, red mysks plush toy.", "a large, red plush toy."),
        ("the mysks on a table", "the plush toy on a table"),
        ("my mysks plush toy", "my plush toy"),
        ("Anna's mysks on a bed", "Anna's plush toy on a bed"),
        ("Mysks plush toy, asleep", "a plush toy, asleep"),
        # A determiner of another noun is none of the subject's.
        ("a photo, mysks in a garden", "a photo, a plush toy in a garden"),
        ("a hat on mysks", "a hat on a plush toy"),
        ("a cat and mysks", "a cat and a plush toy"),
        ("a girl holding mysks plush toy", "a girl holding a plush toy"),
        ("the face of mysks", "the face of a plush toy"),
        ("masks and mysks-like toys", "masks and mysks-like toys"),
    ],
)
def test_a_twin_has_one_determiner_before_the_class_noun(text: str, expected: str) -> None:
    assert twin(text) == expected


@pytest.mark.parametrize(
    ("text", "noun", "expected"),
    [
        ("a photo of a mysks owl", "owl", "a photo of an owl"),
        ("An mysks owl", "dog", "A dog owl"),
        ("A mysks in the sun", "owl", "An owl in the sun"),
        ("an unusual mysks", "owl", "an unusual owl"),
        ("a photo of mysks", "unicorn", "a photo of a unicorn"),
    ],
)
def test_an_article_directly_before_the_name_becomes_that_of_the_noun(text: str, noun: str, expected: str) -> None:
    assert twin(text, noun) == expected


@pytest.mark.parametrize(
    "words", ["an owl", "an umbrella", "an hourglass", "a unicorn", "a uniform", "a toy", "a house"]
)
def test_an_article_goes_by_the_sound(words: str) -> None:
    assert with_article(words.split()[1]) == words
