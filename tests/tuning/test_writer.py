"""A language model that proposes wordings: its answer is read with care and kept while a search runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.params import ParamsError, Writer, load_params
from pipeline.tuning.writer import KEY, WriterError, WriterSilent, keep_answer, read_wordings, wordings_of
from tests.services.language_model import LanguageModel, stand_in_model


@pytest.fixture
def model() -> Iterator[LanguageModel]:
    with stand_in_model() as found:
        yield found


def writer(model: LanguageModel, wordings: int = 3) -> Writer:
    return Writer(address=model.address, model="small", wordings=wordings)


ANSWER = """Sure! [these] are good: ["{prompt}, in focus", "{prompt},  in focus", "a toy", "{prompt} {x}", "{prompt}",
"a sharp {prompt}", "{prompt}, lit", "{prompt}, whole"] Enjoy."""


def test_an_answer_is_read_whatever_stands_around_it_and_what_cannot_be_used_is_named() -> None:
    found = read_wordings(ANSWER, 3)
    assert found.templates == ["{prompt}, in focus", "a sharp {prompt}", "{prompt}, lit"]
    assert [(one["template"], one["why"].split()[0]) for one in found.refused] == [
        ("{prompt}, in focus", "it"), ("a toy", "must"), ("{prompt} {x}", "must"), ("{prompt}", "it"),
        ("{prompt}, whole", "more"),
    ]  # fmt: skip
    for nothing in ("", "no", "[1, 2]", "[]", "[broken", '{"a": "{prompt} b"}'):
        assert read_wordings(nothing, 3).templates == []


def test_a_killed_search_goes_on_with_the_wordings_that_it_began_with(
    model: LanguageModel, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv(KEY, "secret")
    model.answers = [ANSWER, '["other {prompt}"]']
    kept = tmp_path / "wordings.json"
    first = wordings_of(writer(model), "plush toy", kept)
    assert wordings_of(writer(model), "plush toy", kept) == first
    assert len(model.asked) == 1 and model.keys == ["Bearer secret"] and "secret" not in kept.read_text()
    assert model.asked[0]["model"] == "small" and "plush toy" in model.asked[0]["messages"][0]["content"]
    kept.unlink()
    keep_answer(writer(model), "plush toy", first.answer, kept)
    assert wordings_of(writer(model), "plush toy", kept) == first and len(model.asked) == 1
    assert wordings_of(writer(model, 4), "plush toy", kept).templates == ["other {prompt}"]  # another question


def test_a_server_that_is_away_or_answers_something_else_is_one_sentence(model: LanguageModel, tmp_path: Path) -> None:
    kept = tmp_path / "wordings.json"
    model.answers = [503, 401, {"no": "choices"}, "I cannot help with that."]
    for kind, words in (
        (WriterSilent, "status 503"), (WriterError, "status 401"), (WriterError, "chat completions"),
        (WriterError, "it answered: I cannot help"),
    ):  # fmt: skip
        with pytest.raises(kind, match=words):
            wordings_of(writer(model), "plush toy", kept)
        assert not kept.exists()
    for address in ("http://127.0.0.1:1/v1", "http://localhost:abc/v1"):
        with pytest.raises(WriterSilent, match="start the server"):
            wordings_of(Writer(address=address, model="small"), "plush toy", kept)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"address": "http://me:secret@there/v1"}, "address"),
        ({"address": "there"}, "address"),
        ({"wordings": 0}, "wordings"),
    ],
)
def test_a_writer_that_cannot_be_asked_is_refused_with_params_yaml(project, changes: dict, words: str) -> None:
    plain = {"address": "http://127.0.0.1:1/v1", "model": "small"}
    workspace = project(tune={"writer": {**plain, **changes}})
    with pytest.raises(ParamsError, match=words):
        load_params(workspace / "params.yaml")
    workspace = project(tune={"writer": plain, "parts": ["strength"]})
    with pytest.raises(ParamsError, match="parts has no 'wording'"):
        load_params(workspace / "params.yaml")
