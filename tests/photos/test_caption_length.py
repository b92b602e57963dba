"""Captions beyond the text encoder's length: named with the words that are lost."""

import random
from pathlib import Path

import pytest

from pipeline.base.description import describe_base
from pipeline.params import Base
from pipeline.photos.caption_length import TextEncoder
from pipeline.photos.prepare import PhotosError, prepare_photos
from tests.photos.test_prepare import SUBJECT, settings
from tests.tiny import LENGTH, make_photos

WORDS = ["plush", "toy", "on", "a", "table,", "don't", "(red)", "3.5", "garden-path", "naïve", "mysks"]


@pytest.fixture(scope="module")
def tokenizer(tiny_base: Path):
    base = describe_base(Base(model=str(tiny_base), revision=None, variant=None))
    assert (base.length, base.size, base.multiple) == (LENGTH, 32, 4)
    return base.tokenizer()


def test_the_lost_words_are_those_that_the_tokenizer_cuts(tokenizer) -> None:
    rng = random.Random(2)
    encoder = TextEncoder(tokenizer, LENGTH, "mysks", len(tokenizer("mysks", add_special_tokens=False).input_ids))
    cut = 0
    for _ in range(200):
        caption = " ".join(rng.choices(WORDS, k=rng.randrange(1, 12)))
        kept, lost = encoder.kept_and_lost(caption)
        assert f"{kept} {lost}".strip() == caption
        assert len(tokenizer(kept).input_ids) <= LENGTH
        if lost:
            cut += 1
            assert len(tokenizer(f"{kept} {lost.split()[0]}").input_ids) > LENGTH
    assert 20 < cut < 180


def test_each_vector_of_the_token_takes_a_place(tokenizer) -> None:
    room = LENGTH - 2
    caption = " ".join(["mysks", *["toy"] * room])
    assert TextEncoder(tokenizer, LENGTH, "mysks", 1).kept_and_lost(caption)[1] == "toy"
    assert TextEncoder(tokenizer, LENGTH, "mysks", 16).kept_and_lost(caption)[1] == " ".join(["toy"] * 16)


def test_prepare_names_what_is_lost_and_refuses_a_lost_token(tokenizer, tmp_path: Path, capsys) -> None:
    data = make_photos(tmp_path / "data", 5)
    encoder = TextEncoder(tokenizer, LENGTH, "mysks", 1)
    text = (data / "metadata.jsonl").read_text()
    end = " ".join(["toy"] * LENGTH)
    (data / "metadata.jsonl").write_text(text.replace("plush toy, 0", f"{end} beyond"))
    prepare_photos(data, tmp_path / "out", settings(), SUBJECT, 32, encoder=encoder)
    printed = capsys.readouterr().out
    assert f"photo0.jpg: its caption is longer than the {LENGTH} tokens that the base reads" in printed
    assert 'toy beyond"' in printed and "photo1.jpg" not in printed
    (data / "metadata.jsonl").write_text(text.replace("mysks plush toy, 0", f"{end} mysks"))
    with pytest.raises(PhotosError, match=r"photo0\.jpg: its caption shows the token 'mysks' only after"):
        prepare_photos(data, tmp_path / "out", settings(), SUBJECT, 32, encoder=encoder)
