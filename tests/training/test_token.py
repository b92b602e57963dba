from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pipeline.base.components import load_parts
from pipeline.base.learned import Learned, apply_learned, write_learned
from pipeline.training.token import ExtendedEmbedding, TokenError, add_token, restore_embedding, token_ids


@pytest.fixture
def parts(tiny_base: Path):
    return load_parts(tiny_base)


def test_the_word_becomes_one_token_that_starts_from_the_mean_of_its_words(parts) -> None:
    words = token_ids(parts.tokenizer, "plush toy")
    table = parts.text_encoder.get_input_embeddings().weight.detach().clone()
    extended = add_token(parts.tokenizer, parts.text_encoder, "mysks", "plush toy")
    assert token_ids(parts.tokenizer, "a mysks, toy")[1:2] == [len(table)]
    assert torch.equal(extended.rows[0], table[words].mean(dim=0))


def test_each_of_several_rows_starts_from_a_word_of_its_own_not_from_a_piece_of_one(parts) -> None:
    bear, toy = (token_ids(parts.tokenizer, word) for word in ("tedbear", "toy"))
    assert len(bear) > 1 and len(toy) == 1
    table = parts.text_encoder.get_input_embeddings().weight.detach().clone()
    rows = add_token(parts.tokenizer, parts.text_encoder, "mysks", "tedbear  toy", 3).rows
    assert torch.equal(rows[0], table[bear].mean(dim=0)) and torch.equal(rows[2], rows[0])
    assert torch.equal(rows[1], table[toy[0]])


def test_other_words_are_read_as_before(parts) -> None:
    texts = ["a photo of a plush toy", "mysksy", "hemysks"]
    before = [token_ids(parts.tokenizer, text) for text in texts]
    add_token(parts.tokenizer, parts.text_encoder, "mysks", "toy")
    assert [token_ids(parts.tokenizer, text) for text in texts] == before


def test_capital_letters_name_the_same_token(parts) -> None:
    add_token(parts.tokenizer, parts.text_encoder, "mysks", "toy")
    assert token_ids(parts.tokenizer, "MYSKS") == token_ids(parts.tokenizer, "mysks")


def test_a_known_word_is_refused(parts) -> None:
    with pytest.raises(TokenError, match="already a word of this base"):
        add_token(parts.tokenizer, parts.text_encoder, "plush", "toy")


def test_the_wrapped_encoder_computes_what_it_did(parts) -> None:
    ids = torch.tensor([parts.tokenizer("a plush toy", padding="max_length").input_ids])
    with torch.no_grad():
        before = parts.text_encoder(ids).last_hidden_state
        add_token(parts.tokenizer, parts.text_encoder, "mysks", "toy")
        assert torch.equal(parts.text_encoder(ids).last_hidden_state, before)


def test_gradients_reach_the_new_row_alone() -> None:
    table = torch.nn.Embedding(5, 3)
    extended = ExtendedEmbedding(table, torch.zeros(1, 3))
    extended(torch.tensor([[0, 5, 4, 5]])).sum().backward()
    assert table.weight.grad is None
    assert torch.equal(extended.rows.grad, torch.full((1, 3), 2.0))


def test_a_written_token_gives_an_ordinary_table_with_the_rows_last(parts, tiny_base: Path, tmp_path: Path) -> None:
    before = parts.text_encoder.get_input_embeddings()
    extended = add_token(parts.tokenizer, parts.text_encoder, "mysks", "toy")
    expected = extended.weight.detach().clone()
    restore_embedding(parts.text_encoder)
    assert parts.text_encoder.get_input_embeddings() is before
    save_file({"mysks": extended.rows.detach()}, tmp_path / "mysks.safetensors")
    write_learned(tmp_path, Learned(words=("mysks",), embedding="mysks.safetensors"))
    plain = load_parts(tiny_base)
    apply_learned(tmp_path, plain.tokenizer, plain.text_encoder, plain.unet)
    table = plain.text_encoder.get_input_embeddings()
    assert type(table) is torch.nn.Embedding
    assert torch.equal(table.weight, expected)
    assert plain.text_encoder.config.vocab_size == len(expected) == len(plain.tokenizer)
    assert plain.tokenizer.get_vocab() == parts.tokenizer.get_vocab()
