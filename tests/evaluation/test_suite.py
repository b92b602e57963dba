from pathlib import Path

import pytest

from pipeline.evaluation.suite import BUILT_IN, SuiteError, load_suite
from pipeline.params import Subject

MYSKS = Subject(name="mysks", token="mysks", class_noun="plush toy")
THESIS = {
    "a cinematic portrait of mysks plush toy during golden hour near the lake",
    "a photo of mysks plush toy wearing a tiny astronaut suit inside a spaceship",
    "a photo of mysks near books",
    "a photo of mysks walking on a snowy mountain trail at sunset",
    "an under water photo of mysks plush toy in aquarium",
    "a realistic photo of mysks sitting on a wooden floor in a Scandinavian-style living room, shallow depth of field",
    "a 3D render of mysks, studio lighting",
    "a watercolor painting of mysks in a flower field",
}


def suite(tmp_path: Path, text: str, subject: Subject = MYSKS):
    path = tmp_path / "suite.yaml"
    path.write_text(text)
    return load_suite(str(path), subject)


def test_the_eight_prompts_of_the_thesis_stand_there_verbatim() -> None:
    prompts = load_suite("thesis", MYSKS).prompts
    assert {prompt.text for prompt in prompts if prompt.kind == "subject"} == THESIS


@pytest.mark.parametrize("path", sorted(BUILT_IN.glob("*.yaml")), ids=lambda path: path.stem)
def test_no_twin_or_probe_names_the_token(path: Path) -> None:
    for prompt in load_suite(path.stem, MYSKS).prompts:
        assert "mysks" not in prompt.twin
        assert ("mysks" in prompt.text) == (prompt.kind == "subject")


def test_both_forms_of_the_name_have_the_same_twin(tmp_path: Path) -> None:
    found = suite(tmp_path, "prompts:\n  a:\n    - a photo of {subject}\n    - a picture of {token}\n")
    assert [prompt.twin for prompt in found.prompts] == ["a photo of a plush toy", "a picture of a plush toy"]
    owl = Subject(name="owl", token="qwz", class_noun="owl")
    assert suite(tmp_path, "prompts: {a: ['a photo of {token}']}", owl).prompts[0].twin == "a photo of an owl"


def test_the_digest_follows_the_prompts(tmp_path: Path) -> None:
    one = suite(tmp_path, "prompts: {a: ['a photo of {token}']}").digest
    assert suite(tmp_path, "# a comment\nprompts: {a: ['a photo of {token}']}").digest == one
    assert suite(tmp_path, "prompts: {a: ['a photo of {token}!']}").digest != one


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prompts: {a: ['a photo of a cat']}", "lacks"),
        ("prompts: {a: ['a {token}']}\nprobes: {b: ['a {subject}']}", "must not have"),
        ("prompts: {a: ['a {tokn}']}", "unknown fields"),
        ("prompts: {a: ['a {token}', 'a {token}']}", "stands there twice"),
        ("prompts: {}", "no prompt of the subject"),
        ("prompt: {}", "is not a suite"),
        ("- a photo", "is not a suite"),
    ],
)
def test_what_is_no_suite_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(SuiteError, match=words):
        suite(tmp_path, text)


def test_an_unknown_suite_names_those_that_are_there() -> None:
    with pytest.raises(SuiteError, match="thesis"):
        load_suite("dissertation", MYSKS)
