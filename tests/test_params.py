import copy
import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from pipeline import params as sections
from pipeline.evaluation.suite import _File
from pipeline.params import (
    Params,
    ParamsError,
    dump_params,
    flat_params,
    load_params,
    parse_params,
    parse_recorded,
    recorded_batch,
)
from pipeline.runs.profiles import profiles
from pipeline.sampling import composition
from pipeline.sampling.recipe import Recipe

ROOT = Path(__file__).resolve().parent.parent
TOKEN = {"learn": True, "learning_rate": 1e-3, "start_from": "toy"}


@pytest.fixture
def raw() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "profiles" / "pocket.yaml").read_text())


def problems(raw: Any) -> str:
    with pytest.raises(ParamsError) as caught:
        parse_params(raw, "params.yaml")
    return str(caught.value)


def test_params_yaml_is_the_pocket_preset() -> None:
    assert (ROOT / "params.yaml").read_bytes() == (ROOT / "profiles" / "pocket.yaml").read_bytes()


@pytest.mark.parametrize("profile", profiles(), ids=lambda profile: profile.name)
def test_every_profile_is_valid_and_reads_back_the_same(profile) -> None:
    params = load_params(profile.path)
    assert parse_params(dump_params(params), "again") == params


def test_the_thesis_profile_has_the_hyper_parameters_of_the_thesis() -> None:
    params = load_params(ROOT / "profiles" / "thesis.yaml")
    train = params.train
    assert params.base.model == "stable-diffusion-v1-5/stable-diffusion-v1-5"
    assert params.base.revision is not None
    assert (train.batch, train.gradient_accumulation, train.learning_rate) == (8, 1, 2e-6)
    assert (train.precision, train.steps, train.optimizer) == ("bf16", 1600, "adamw-8bit")
    assert train.token.learn
    assert params.prepare.size == 512


def test_all_problems_are_listed_at_once_with_the_path_of_their_key(raw) -> None:
    raw["train"]["learning_rat"] = raw["train"].pop("learning_rate")
    raw["train"]["steps"] = "many"
    raw["prior"]["draw"]["guidance"] = 0
    del raw["subject"]["token"]
    message = problems(raw)
    assert "train.learning_rat: unknown key" in message
    assert "train.learning_rate: is missing" in message
    assert "train.steps: " in message and "found 'many'" in message
    assert "prior.draw.guidance: " in message
    assert "subject.token: is missing" in message
    assert "5 problems" in message


@pytest.mark.parametrize(
    ("section", "change", "words"),
    [
        ("train", {"warmup_steps": 800}, "must be less than steps"),
        (
            "train",
            {"steps": 800, "token": {**TOKEN, "stop_after": 0}},
            "train: token.stop_after is 0 of 800 steps, which is no",
        ),
        ("train", {"steps": 800, "token": {**TOKEN, "stop_after": 0.0001}}, "token.stop_after is 0.0001 of 800 steps"),
        ("sample", {"seeds": [3, 3]}, "sample.seeds: must differ"),
        ("select", {"seeds": [31, 32, 31]}, "select.seeds: must differ from each other, found [31, 32, 31]"),
        ("tune", {"seeds": [51, 51]}, "tune.seeds: must differ"),
        ("tune", {"parts": ["token", "token"]}, "tune.parts: must differ"),
        ("register", {"alias": "champion"}, "promotion"),
        ("prior", {"prompts": ["a photo of a cat"]}, "must name the class"),
        (
            "prior",
            {"prompts": ["a photo of a plush toy", "a photo of mysks plush toy"]},
            "must not name the placeholder token",
        ),
        ("prior", {"places": {"images": 3}}, "there are no prompts"),
        (
            "prior",
            {"places": {"images": 1, "prompts": {"on the beach": "a photo of a plush toy on the beach"}}},
            "must be empty of 'plush toy'",
        ),
        ("prior", {"places": {"images": 0}}, "no places are drawn: set prior.places.images"),
        ("train", {"augment": {"places": 17}}, "train.augment.places is 17, but only 16 places would be drawn"),
        ("train", {"augment": {"views": 2}}, "train.augment: views is 2, but crop and colour are 0"),
        ("train", {"augment": {"crop": 0.2}}, "train.augment: crop is 0.2, but views is 1"),
        ("train", {"augment": {"crop": 0.2, "colour": 0.1}}, "crop is 0.2 and colour is 0.1, but views is 1"),
        ("train", {"caption_dropout": 1}, "train: caption_dropout is 1: every caption is left out"),
        ("prepare", {"size": 100}, "multiple of 8"),
    ],
)
def test_impossible_combinations_are_refused(raw, section: str, change: dict[str, Any], words: str) -> None:
    raw[section] |= change
    assert words in problems(raw)


@pytest.mark.parametrize(
    ("section", "change"),
    [
        ("subject", {"animal": "plush toy"}),
        ("train", {"augment": {"places": 17}}),
        ("train", {"augment": {"crop": 0.2}}),
        ("train", {"caption_dropout": 1.0}),
        ("evaluate", {"copies_above": 1.0}),
        ("prior", {"places": {"images": 3}}),
        ("register", {"alias": "champion"}),
        ("tune", {"parts": ["token"], "writer": {"address": "http://127.0.0.1:1/v1", "model": "any"}}),
    ],
)
def test_a_record_is_read_even_where_what_it_tells_may_no_longer_be_asked_for(
    raw, section: str, change: dict[str, Any]
) -> None:
    raw[section] |= change
    assert problems(raw)
    recorded = flat_params(dump_params(parse_recorded(raw, "the record")))
    assert recorded.items() >= flat_params({section: change}).items()


def test_a_record_with_unknown_keys_is_refused(raw) -> None:
    raw["train"]["learning_rat"] = 1
    with pytest.raises(ParamsError, match=r"(?s)the record.*learning_rat: unknown key"):
        parse_recorded(raw, "the record")


def test_training_without_any_caption_is_possible_where_no_token_is_learned(raw) -> None:
    raw["train"] |= {"caption_dropout": 1, "token": {**TOKEN, "learn": False}}
    assert parse_params(raw, "params.yaml").train.caption_dropout == 1


def test_a_word_where_a_number_belongs_is_refused(raw) -> None:
    broken = copy.deepcopy(raw)
    broken["train"]["token"]["learning_rate"] = "fast"
    assert "train.token.learning_rate: must be a number, found 'fast'" in problems(broken)


@pytest.mark.parametrize("word", ["yes", "no", "on", "off"])
@pytest.mark.parametrize(
    "key", ["gates.copies", "gates.diversity", "train.steps", "train.learning_rate", "train.betas"]
)
def test_a_yes_or_no_where_a_number_belongs_is_refused(raw, key: str, word: str) -> None:
    section, name = key.split(".")
    read = yaml.safe_load(f"[{word}]")
    raw[section][name] = [0.9, *read] if name == "betas" else read[0]
    said = problems(raw)
    assert f"{key}{'.1' if name == 'betas' else ''}: must be a " in said
    assert f"(YAML reads yes, no, on and off as true and false), found {read[0]}" in said
    assert ("or null, which switches it off" in said) == (section == "gates")


MODELS = [
    one
    for module in (sections, composition)
    for one in vars(module).values()
    if isinstance(one, type) and issubclass(one, BaseModel)
]


def settings_of(*models: type[BaseModel]) -> list[tuple[str, Any]]:
    """Every key of the models, and of models inside them, with what it may hold."""
    fields = [(model, name, field) for model in models for name, field in model.model_fields.items()]
    inner = {
        one for _, _, field in fields for one in MODELS if re.search(rf"\.{one.__name__}\b", repr(field.annotation))
    }
    found = [(f"{model.__name__}.{name}", field.rebuild_annotation()) for model, name, field in fields]
    return [*found, *(settings_of(*sorted(inner, key=lambda one: one.__name__)) if inner else [])]


@pytest.mark.parametrize(("name", "kind"), settings_of(Params, Recipe, _File))
def test_no_number_anywhere_is_read_from_a_yes_a_no_or_an_infinity(name: str, kind: Any) -> None:
    check = TypeAdapter(kind)
    switch = "bool" in str(kind)
    for one in (True, False, math.inf, math.nan):
        for value in (one, [one], [one] * 2, [one] * 4):
            if not (switch and isinstance(one, bool)):
                with pytest.raises(ValidationError):
                    check.validate_python(value)


def test_gradients_may_go_unclipped(raw) -> None:
    for value in (None, math.inf):  # as records of older versions have it
        raw["train"]["max_grad_norm"] = value
        assert parse_params(raw, "params.yaml").train.max_grad_norm is None
    for value in (0, -math.inf, math.nan, "big"):
        raw["train"]["max_grad_norm"] = value
        assert "train.max_grad_norm: " in problems(raw)


def test_a_number_may_be_written_as_yaml_does_not_know_it(raw) -> None:
    raw["train"] |= yaml.safe_load("{learning_rate: 2e-6, steps: '800'}")  # YAML wants 2.0e-6
    train = parse_params(raw, "params.yaml").train
    assert (train.learning_rate, train.steps) == (2e-6, 800)


def test_a_file_that_is_no_mapping_is_refused() -> None:
    assert "must be a mapping" in problems(["train"])


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="dreamtrace profile use pocket"):
        load_params(tmp_path / "params.yaml")


def test_broken_yaml_is_refused_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("train: [1, 2\nsample: 3\n")
    with pytest.raises(ParamsError, match="line"):
        load_params(path)


def test_flat_params_name_leaves_by_path() -> None:
    assert flat_params({"a": {"b": {"c": 1}, "d": [2]}}) == {"a.b.c": "1", "a.d": "[2]"}


def test_a_step_s_photos_are_those_of_all_processes_in_params_and_in_records() -> None:
    train = load_params(Path("params.yaml")).train
    changes = {"batch": 3, "gradient_accumulation": 2}
    shared = train.model_copy(update=changes | {"processes": 4})
    assert shared.photos_per_step == recorded_batch(shared.model_dump()) == 24
    assert recorded_batch(changes) == 6  # records of older versions name no processes
