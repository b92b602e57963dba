"""The settings that benchmarks.variants takes from its command line."""

import pytest

from benchmarks.variants import merged, parse_changes
from pipeline.yaml_files import YamlError


def test_settings_are_values_of_train_with_their_types() -> None:
    assert parse_changes("optimizer=adamw,learning_rate=8.0e-4,prior.weight=0,ema=null") == {
        "optimizer": "adamw",
        "learning_rate": 8e-4,
        "prior": {"weight": 0},
        "ema": None,
    }
    assert parse_changes(".") == {}


@pytest.mark.parametrize("text", ["", "steps", "=3", "steps=1,", "steps=1,,batch=2"])
def test_what_is_no_setting_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is no KEY=VALUE"):
        parse_changes(text)


@pytest.mark.parametrize("value", ["[1", "{a: 1", "'x", "1" * 200])
def test_a_value_that_cannot_be_read_is_named_with_its_key(value: str) -> None:
    with pytest.raises(YamlError, match=r"prior\.weight.* is not valid YAML"):
        parse_changes(f"steps=1,prior.weight={value}")


def test_a_changed_part_keeps_what_is_not_changed() -> None:
    values = {"steps": 1, "prior": {"kind": "images", "weight": 1.0}}
    assert merged(values, {"steps": 2, "prior": {"weight": 0}}) == {
        "steps": 2,
        "prior": {"kind": "images", "weight": 0},
    }
    assert values["prior"] == {"kind": "images", "weight": 1.0}
