"""YAML of people: what is refused, with the place and in plain words, whatever reads it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.commands.errors import CommandError
from pipeline.commands.run import read_changes
from pipeline.errors import UserError
from pipeline.evaluation.suite import load_suite
from pipeline.params import Subject, load_params
from pipeline.sampling.recipe import read_recipe, recipe_from, written_recipe
from pipeline.yaml_files import YamlError, parse_yaml

HEX, DECIMAL, BINARY, SIXTIES = "0x1" + "f" * 6000, "9" * 6000, "0b" + "1" * 30_000, ":".join(["59"] * 4000)
SUBJECT = Subject(name="mysks", token="mysks", class_noun="toy")


def set_steps(path: Path) -> object:
    return read_changes([f"train.steps={path.read_text()}"])


READERS: list[Callable[[Path], Any]] = [
    load_params,
    read_recipe,
    lambda path: recipe_from(path.read_text(), "the recipe"),
    lambda path: load_suite(str(path), SUBJECT),
    set_steps,
]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("number", [HEX, f"-{HEX}", DECIMAL, BINARY, SIXTIES], ids=["hex", "minus", "ten", "two", "60"])
@pytest.mark.parametrize("form", ["steps: {}", "steps: [1, {}]", "? {}\n: 1", "train: {{steps: {}}}"])
def test_a_whole_number_of_thousands_of_digits_is_refused_with_its_line(
    tmp_path: Path, reader: Callable[[Path], Any], number: str, form: str
) -> None:
    (path := tmp_path / "it.yaml").write_text(f"# one line before it\n{form.format(number)}\n")
    with pytest.raises(
        UserError, match=r"line 2 is not valid YAML: a whole number has \d+ digits; at most 100"
    ) as found:
        reader(path)
    assert len(str(found.value)) < 300


def test_values_of_a_recipe_that_no_message_can_show_are_refused_all_the_same() -> None:
    with pytest.raises(UserError, match=r"steps: .*, found a value that is too long to be shown"):
        written_recipe({"steps": 16**6000}, "the recipe")


@pytest.mark.parametrize("number", ["0x1f", "0b101", "1_000", "1:30", "-7", "9" * 100])
def test_other_whole_numbers_are_read_as_yaml_says(number: str) -> None:
    known = {"0x1f": 31, "0b101": 5, "1_000": 1000, "1:30": 90}
    assert parse_yaml(number, "it") == known.get(number) or parse_yaml(number, "it") == int(number)


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: 1, a: 2}", "[1", "2020-13-45", "&a [*a, *b]"])
def test_a_value_of_set_that_is_no_yaml_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(CommandError, match=r"--set train\.steps.* is not valid YAML"):
        read_changes([f"train.steps={text}"])
    with pytest.raises(YamlError):
        parse_yaml(text, "it")
