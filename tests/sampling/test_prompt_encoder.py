"""Prompts beyond the text encoder's length, and the learned token in any spelling."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.base.components import load_parts
from pipeline.sampling.sampler import Request, Sampler
from pipeline.sampling.weighted_prompts import WeightedPromptEncoder
from pipeline.training.token import add_token
from tests.tiny import LENGTH

LONG = " ".join(f"{word} plush toy" for word in "a red and a blue one on the old table by the sea".split())


@pytest.fixture
def sampler(tiny_base: Path) -> Sampler:
    return Sampler.load(tiny_base, "ddim", "fp32")


def draw(sampler: Sampler, *requests: Request) -> list[np.ndarray]:
    return [np.asarray(picture) for picture in sampler.draw(list(requests), 2, 3.0, 32, 8)]


def test_the_end_of_a_long_prompt_counts(sampler: Sampler) -> None:
    assert sampler.prompts.windows(LONG) > 1
    first, other = draw(sampler, Request(LONG + " in the snow", 1), Request(LONG + " in the dark", 1))
    assert not np.array_equal(first, other)


def test_a_short_prompt_is_drawn_as_before_whatever_is_drawn_with_it(sampler: Sampler) -> None:
    short = Request("a plush toy", 3)
    assert sampler.prompts.windows(short.prompt, short.negative) == 1
    (alone,) = draw(sampler, short)
    among = draw(sampler, Request(LONG, 1), short, Request(LONG, 2), short)
    assert np.array_equal(among[1], alone) and np.array_equal(among[3], alone)
    with torch.inference_mode():
        answer = sampler.pipe(
            prompt=[short.prompt] * 4,
            negative_prompt=[""] * 4,
            generator=[torch.Generator("cpu").manual_seed(3) for _ in range(4)],
            num_inference_steps=2,
            guidance_scale=3.0,
            height=32,
            width=32,
        )
    assert np.array_equal(np.asarray(answer.images[0]), alone)


def test_one_window_is_what_the_pipeline_encodes_itself(sampler: Sampler) -> None:
    states = sampler.prompts.states(["a plush toy", ""], 1)
    with torch.no_grad():
        expected, empty = sampler.pipe.encode_prompt(["a plush toy"], sampler.pipe.device, 1, True, [""])
    assert states.shape == (2, LENGTH, 32)
    assert torch.equal(states, torch.cat([expected, empty]))


def test_a_long_negative_prompt_is_read_whole(sampler: Sampler) -> None:
    first, other = draw(sampler, Request("a toy", 1, LONG + " snow"), Request("a toy", 1, LONG + " dark"))
    assert not np.array_equal(first, other)


def knowing(tiny_base: Path, **tokens: int) -> Sampler:
    """The tiny base with learned tokens of so many vectors."""
    sampler = Sampler.load(tiny_base, "ddim", "fp32")
    parts = load_parts(tiny_base)
    for token, vectors in tokens.items():
        add_token(parts.tokenizer, parts.text_encoder, token, "plush toy", vectors)
        rows = parts.text_encoder.get_input_embeddings().weight.detach()
        parts.text_encoder.set_input_embeddings(torch.nn.Embedding.from_pretrained(rows))
    sampler.pipe.tokenizer, sampler.pipe.text_encoder = parts.tokenizer, parts.text_encoder
    return Sampler(sampler.pipe, "ddim")


@pytest.mark.parametrize("vectors", [1, 3])
def test_the_token_means_the_same_in_any_spelling(tiny_base: Path, vectors: int) -> None:
    sampler = knowing(tiny_base, mysks=vectors)
    texts = ("a photo of mysks plush toy", "a photo of MYSKS plush toy", "a photo of Mysks plush toy")
    one, *others = draw(sampler, *(Request(text, 1) for text in texts))
    assert all(np.array_equal(one, other) for other in others)
    (without,) = draw(sampler, Request("a photo of mysksy plush toy", 1))
    assert not np.array_equal(one, without)
    one, other = draw(sampler, *(Request("a toy", 1, f"a {token} toy") for token in ("mysks", "MYSKS")))
    assert np.array_equal(one, other)  # in what is not to be drawn, too


def test_a_token_is_the_words_of_its_vectors_and_no_part_of_another_word(tiny_base: Path) -> None:
    prompts = knowing(tiny_base, mysks=3, mysks2=2, mysksa=1).prompts
    for text, words in {
        "mysks, MYSKS2 and a Mysksa": "mysks mysks_1 mysks_2, mysks2 mysks2_1 and a mysksa",
        "mysks in mysksville by a-mysks": "mysks mysks_1 mysks_2 in mysksville by a-mysks mysks_1 mysks_2",
        "mysks_1 alone": "mysks_1 alone",
    }.items():
        assert prompts.expanded(text) == words
    weighted = WeightedPromptEncoder(prompts.pipe)
    assert [token for token, _ in weighted._tokens("(MYSKS:1.3) toy")] == prompts._ids("mysks toy")


def test_the_vectors_of_a_token_share_a_window(tiny_base: Path) -> None:
    prompts = knowing(tiny_base, mysks=3).prompts
    (word,), token = prompts._ids("a"), prompts._ids("mysks")
    weighted, room = WeightedPromptEncoder(prompts.pipe), prompts.room
    for before in range(room - 4, room + 2):
        text = "a " * before
        cut = before if room - 3 < before < room else room
        every = [word] * before + token + [word]
        expected = [part for part in (every[:cut], every[cut:]) if part]
        for encoder, prompt in ((prompts, f"{text} mysks a"), (weighted, f"{text} (mysks:1.3) a")):
            assert [[one for one, _ in part] for part in encoder._windows(prompt)] == expected
            assert encoder.windows(prompt) == len(expected)
        weights = weighted._weights(f"{text} (mysks:1.3) a", 2).reshape(2, room + 2)
        places = [[number, 1 + part.index(row)] for row in token for number, part in enumerate(expected) if row in part]
        assert (weights != 1).nonzero().tolist() == places
