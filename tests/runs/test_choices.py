"""What a form may change, and what it may not."""

from pathlib import Path
from typing import get_args

import pytest

from pipeline.params import ParamsError, Subject, parse_params
from pipeline.runs.choices import Choices, ProfileName, UnknownParameter, chosen_values, read_values
from pipeline.runs.profiles import profiles

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def pocket() -> dict:
    return read_values((ROOT / "profiles" / "pocket.yaml").read_text())


def test_a_form_offers_every_profile() -> None:
    assert sorted(get_args(ProfileName)) == [profile.name for profile in profiles()]


def test_another_subject_takes_its_words_everywhere(pocket: dict) -> None:
    subject = Subject(name="rex", token="rexx", class_noun="dog")
    found = chosen_values(pocket, Choices(subject=subject), "params.yaml")
    params = parse_params(found, "it")
    assert params.subject == subject
    assert {"a picture of a dog", "pixel art of a dog"} <= set(params.prior.prompts)
    assert params.preview.prompts[0] == "a photo of rexx dog"
    assert "mysks" not in str(found) and "plush" not in str(found)
    assert params.train.token.start_from == "dog"
    assert (params.register_.model, params.register_.experiment) == ("rex", "rex")
    assert pocket["subject"]["name"] == "mysks"  # the given values stay as they are


@pytest.mark.parametrize("noun", ["car", "studio", "table", "grass"])
@pytest.mark.parametrize("images", [0, 8])
def test_a_class_that_stands_in_a_place_of_the_preset_can_be_chosen(pocket: dict, noun: str, images: int) -> None:
    pocket["prior"]["places"]["images"] = images
    pocket["train"]["augment"]["places"] = images
    found = chosen_values(pocket, Choices(subject=Subject(name="one", token="qwz", class_noun=noun)), "params.yaml")
    places = found["prior"]["places"]["prompts"]
    assert places and len(places) < len(pocket["prior"]["places"]["prompts"])
    assert not [words for words in places if noun in words.split()]


def test_the_gate_of_the_animal_comes_back_with_an_animal_and_not_against_a_decision(pocket: dict) -> None:
    toy = Subject(name="one", token="qwz", class_noun="toy", animal="fox")
    decided = {**pocket, "gates": {**pocket["gates"], "animal": None}}
    assert chosen_values(decided, Choices(subject=toy), "params.yaml")["gates"]["animal"] is None
    pocket["subject"]["animal"], pocket["gates"]["animal"] = None, None
    assert chosen_values(pocket, Choices(subject=toy), "params.yaml")["gates"]["animal"] == 0.2


def test_words_inside_of_other_words_stay(pocket: dict) -> None:
    pocket["prior"]["prompts"] = ["a plush toy in a plush toyshop"]
    found = chosen_values(pocket, Choices(subject=Subject(name="mug", token="mugg", class_noun="cup")), "params.yaml")
    assert found["prior"]["prompts"] == ["a cup in a plush toyshop"]


def test_overrides_come_last_and_are_checked(pocket: dict) -> None:
    subject = Subject(name="rex", token="rexx", class_noun="dog")
    chosen = Choices(subject=subject, overrides={"register.model": "hound", "train.token.start_from": "brown dog"})
    found = chosen_values(pocket, chosen, "params.yaml")
    assert (found["register"]["model"], found["train"]["token"]["start_from"]) == ("hound", "brown dog")
    with pytest.raises(UnknownParameter, match=r"params\.yaml has no parameter 'train\.stepz'"):
        chosen_values(pocket, Choices(overrides={"train.stepz": 1}), "params.yaml")
    with pytest.raises(ParamsError, match=r"params\.yaml as chosen has 1 problem"):
        chosen_values(pocket, Choices(overrides={"train.steps": -1}), "params.yaml")


def test_a_parameter_that_the_file_leaves_out_can_be_chosen_and_an_unknown_one_cannot(pocket: dict) -> None:
    values = pocket
    values["prepare"].pop("always_heldout", None)
    found = chosen_values(values, Choices(overrides={"prepare.always_heldout": ["a.jpg"]}), "x")
    assert found["prepare"]["always_heldout"] == ["a.jpg"]
    for name in ("prepare.always", "always_heldout", "nosuch.always_heldout", "prepare.heldout.x"):
        with pytest.raises(UnknownParameter):
            chosen_values(values, Choices(overrides={name: 1}), "x")
